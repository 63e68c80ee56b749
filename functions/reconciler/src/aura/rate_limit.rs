//! Limits the calls to AURA in any minute. All of them may come at once. Then the next call waits
//! until the first of them is a minute old. A new instance of the function starts from zero.

use std::collections::VecDeque;
use std::num::NonZero;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

const MINUTE: Duration = Duration::from_mins(1);

/// Number of the calls that are reserved for lists, because closings need a list to confirm them.
const FOR_LISTS: usize = 2;

/// Kind of a call to AURA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallKind {
    /// The list of active callouts.
    List,
    /// A single callout.
    Single,
}

/// The calls of the last minute.
#[derive(Debug)]
pub struct RateLimiter {
    most: usize,
    calls: Mutex<VecDeque<Instant>>,
}

impl RateLimiter {
    /// Makes a limiter that allows `per_minute` calls in any minute.
    pub fn new(per_minute: NonZero<u16>) -> Self {
        Self {
            most: per_minute.get().into(),
            calls: Mutex::default(),
        }
    }

    /// Waits until a call may be made, and counts it.
    pub async fn call(&self, kind: CallKind) {
        let most = match kind {
            CallKind::List => self.most,
            CallKind::Single => self.most.saturating_sub(FOR_LISTS).max(1),
        };
        loop {
            let mut calls = self.calls.lock().await;
            let is_over = |at: &Instant| at.elapsed() >= MINUTE;
            while calls.pop_front_if(|at| is_over(at)).is_some() {}
            // This call may start when the call in the way is a minute old.
            let Some(in_the_way) = calls.len().checked_sub(most).and_then(|n| calls.get(n)) else {
                calls.push_back(Instant::now());
                return;
            };
            let end = *in_the_way + MINUTE;
            drop(calls);
            sleep_until(end).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn no_minute_has_more_calls_than_allowed() {
        let rate = RateLimiter::new(NonZero::new(3).unwrap());
        let began = Instant::now();
        let mut calls = Vec::new();
        for pause in [0, 10, 10, 0, 0, 0, 100, 0, 0, 0] {
            tokio::time::sleep(SECOND * pause).await;
            rate.call(CallKind::List).await;
            calls.push(began.elapsed().as_secs());
        }
        assert_eq!(calls, [0, 10, 20, 60, 70, 80, 180, 180, 180, 240]);
    }

    #[tokio::test(start_paused = true)]
    async fn single_calls_leave_room_for_lists() {
        let rate = RateLimiter::new(NonZero::new(4).unwrap());
        rate.call(CallKind::Single).await;
        rate.call(CallKind::Single).await;
        let single = tokio::time::timeout(SECOND, rate.call(CallKind::Single));
        assert!(single.await.is_err());
        rate.call(CallKind::List).await;
        rate.call(CallKind::List).await;
        let list = tokio::time::timeout(SECOND, rate.call(CallKind::List));
        assert!(list.await.is_err());
        // A caller that gave up waiting doesn't count as a call.
        let began = Instant::now();
        rate.call(CallKind::List).await;
        assert_eq!(began.elapsed(), SECOND * 58);
    }
}
