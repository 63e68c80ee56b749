//! So many calls in any minute at most: all at once if need be, and then none until the first of them
//! is a minute old. A new instance of the function counts anew.

use std::collections::VecDeque;
use std::num::NonZero;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

const MINUTE: Duration = Duration::from_mins(1);

/// So many of them are for lists alone: what single callouts have led to may need one to be confirmed.
const FOR_LISTS: usize = 2;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// AURA's list.
    List,
    /// One callout.
    Single,
}

/// The calls of the last minute.
#[derive(Debug)]
pub struct Pace {
    most: usize,
    calls: Mutex<VecDeque<Instant>>,
}

impl Pace {
    /// No more than that in a minute.
    #[must_use]
    pub fn new(per_minute: NonZero<u16>) -> Self {
        Self {
            most: per_minute.get().into(),
            calls: Mutex::default(),
        }
    }

    /// Waits until a call may be made, and counts it.
    pub async fn call(&self, call: Call) {
        let most = match call {
            Call::List => self.most,
            Call::Single => self.most.saturating_sub(FOR_LISTS).max(1),
        };
        loop {
            let mut calls = self.calls.lock().await;
            let is_over = |at: &Instant| at.elapsed() >= MINUTE;
            while calls.pop_front_if(|at| is_over(at)).is_some() {}
            // The call whose end makes room for this one.
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
    async fn in_no_minute_are_more_calls_than_allowed() {
        let pace = Pace::new(NonZero::new(3).unwrap());
        let began = Instant::now();
        let mut calls = Vec::new();
        for pause in [0, 10, 10, 0, 0, 0, 100, 0, 0, 0] {
            tokio::time::sleep(SECOND * pause).await;
            pace.call(Call::List).await;
            calls.push(began.elapsed().as_secs());
        }
        assert_eq!(calls, [0, 10, 20, 60, 70, 80, 180, 180, 180, 240]);
    }

    #[tokio::test(start_paused = true)]
    async fn single_calls_leave_room_for_lists() {
        let pace = Pace::new(NonZero::new(4).unwrap());
        pace.call(Call::Single).await;
        pace.call(Call::Single).await;
        let single = tokio::time::timeout(SECOND, pace.call(Call::Single));
        assert!(single.await.is_err());
        pace.call(Call::List).await;
        pace.call(Call::List).await;
        let list = tokio::time::timeout(SECOND, pace.call(Call::List));
        assert!(list.await.is_err());
        // Who gave up waiting has made no call.
        let began = Instant::now();
        pace.call(Call::List).await;
        assert_eq!(began.elapsed(), SECOND * 58);
    }
}
