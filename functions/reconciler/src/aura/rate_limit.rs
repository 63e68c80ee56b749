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
        while let Err(end) = self.count(kind, Instant::now()).await {
            sleep_until(end).await;
        }
    }

    /// Counts a call. If it may not be made yet, it isn't counted, and the error is when to try again.
    async fn count(&self, kind: CallKind, now: Instant) -> Result<(), Instant> {
        let most = match kind {
            CallKind::List => self.most,
            CallKind::Single => self.most.saturating_sub(FOR_LISTS).max(1),
        };
        let mut calls = self.calls.lock().await;
        let is_over = |at: &Instant| now.duration_since(*at) >= MINUTE;
        while calls.pop_front_if(|at| is_over(at)).is_some() {}
        // This call may start when the call in the way is a minute old.
        if let Some(in_the_way) = calls.len().checked_sub(most).and_then(|n| calls.get(n)) {
            return Err(*in_the_way + MINUTE);
        }
        calls.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn no_minute_has_more_calls_than_allowed() {
        let rate = RateLimiter::new(NonZero::new(3).unwrap());
        let began = Instant::now();
        let mut now = began;
        let mut calls = Vec::new();
        for pause in [0, 10, 10, 0, 0, 0, 100, 0, 0, 0] {
            now += SECOND * pause;
            while let Err(end) = rate.count(CallKind::List, now).await {
                now = end;
            }
            calls.push(now.duration_since(began).as_secs());
        }
        assert_eq!(calls, [0, 10, 20, 60, 70, 80, 180, 180, 180, 240]);
    }

    #[tokio::test]
    async fn single_calls_leave_room_for_lists() {
        let rate = RateLimiter::new(NonZero::new(4).unwrap());
        let began = Instant::now();
        let may = async |kind, now| rate.count(kind, now).await;
        for kind in [CallKind::Single, CallKind::Single] {
            assert_eq!(may(kind, began).await, Ok(()));
        }
        assert_eq!(may(CallKind::Single, began).await, Err(began + MINUTE));
        for kind in [CallKind::List, CallKind::List] {
            assert_eq!(may(kind, began + SECOND).await, Ok(()));
        }
        assert_eq!(
            may(CallKind::List, began + SECOND).await,
            Err(began + MINUTE)
        );
        // A call that had to wait doesn't count.
        assert_eq!(may(CallKind::List, began + MINUTE).await, Ok(()));
    }

    #[tokio::test]
    async fn a_call_waits_until_it_may_be_made() {
        let rate = RateLimiter::new(NonZero::new(1).unwrap());
        rate.call(CallKind::List).await;
        let second = tokio::time::timeout(Duration::from_millis(10), rate.call(CallKind::List));
        assert!(second.await.is_err());
    }
}
