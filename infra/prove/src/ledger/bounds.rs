//! Bounds of the model, which keep the graph of its states finite.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use processor::timing;
use serde::Serialize;

use crate::ledger::design::days;
use crate::ledger::parties::{PerDelivery, PerWorker};

/// Retention of the queue and of the dead letters, as in template.yaml.
pub const QUEUE_RETENTION: SignedDuration = days(14);

/// Length of the last hour of a retention: a message that comes as late as it can comes in this
/// hour.
pub const LAST_HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Latest arrival of the second delivery, after the first, at which it is always recognised. It is
/// the ledger's 35 days, less 14 in the queue, 14 among the dead letters, and one day for the
/// message to be received.
pub const LATEST_ARRIVAL: SignedDuration = days(6);

/// What a run of the model can do.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How far each worker's clock is ahead.
    pub clocks: PerWorker<SignedDuration>,
    /// Digest of each delivery's payload.
    pub digests: PerDelivery<&'static str>,
    /// When each delivery arrives, counted from the start: the earliest time at which it can be
    /// received.
    pub arrivals: PerDelivery<SignedDuration>,
    /// Repeat window of a recurring event; `None` if the event happens once.
    pub repeat_window: Option<Duration>,
    /// Timeout of the function.
    pub timeout: Duration,
    /// How long a stalled worker may live beyond its deadline.
    pub overrun: Duration,
    /// How often a message is received before it goes to the dead letters.
    pub receives: u32,
    /// Which troubles may come, and how many in all.
    pub adversities: Adversities,
}

impl Bounds {
    /// Whether both deliveries belong to one occurrence. If so, one of them must be published;
    /// otherwise both.
    #[must_use]
    pub fn are_copies(&self) -> bool {
        let [first, second] = self.arrivals.0;
        let apart = (second - first).unsigned_abs();
        self.repeat_window.is_none_or(|window| apart <= window)
    }
}

/// A part of everything that can happen; exploring everything at once would take for ever.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What the scenario is about.
    pub name: &'static str,
    /// Bounds of the scenario.
    pub bounds: Bounds,
}

impl Scenario {
    /// The scenarios that every run of the command explores.
    pub const ALL: [Self; 8] = [
        Self::CLOCKS_APART,
        Self::STALL,
        Self::ANY_TWO,
        Self::THREE,
        Self::CONFLICT,
        Self::RETENTION,
        Self::REPEATED,
        Self::COPIED,
    ];

    /// Each worker's clock differs from the others.
    pub const CLOCKS_APART: Self = Self {
        name: "clocks that differ",
        bounds: Bounds {
            clocks: clocks([-1, 0, 1]),
            adversities: Adversities {
                stalls: 0,
                ..Adversities::up_to(2)
            },
            ..BOUNDS
        },
    };

    /// A worker wakes up after others have taken over; the clocks are as far apart as allowed.
    pub const STALL: Self = Self {
        name: "a worker that sleeps, and clocks as far apart as may be",
        bounds: Bounds {
            clocks: clocks([-1, 1, 1]),
            adversities: Adversities {
                stalls: 1,
                lost_calls: 1,
                ..Adversities::none(2)
            },
            ..BOUNDS
        },
    };

    /// The clocks agree, and any two troubles come; both may be the same one.
    pub const ANY_TWO: Self = Self {
        name: "any two troubles",
        bounds: Bounds {
            adversities: Adversities {
                crashes: 2,
                stalls: 2,
                lost_calls: 2,
                lost_publishes: 2,
                early_receives: 2,
                ..Adversities::none(2)
            },
            ..BOUNDS
        },
    };

    /// A death and an unanswered call to each service.
    pub const THREE: Self = Self {
        name: "three troubles",
        bounds: Bounds {
            adversities: Adversities {
                stalls: 0,
                early_receives: 0,
                ..Adversities::up_to(3)
            },
            ..BOUNDS
        },
    };

    /// The second delivery has another payload.
    pub const CONFLICT: Self = Self {
        name: "another payload",
        bounds: Bounds {
            digests: PerDelivery(["a", "b"]),
            adversities: Adversities::up_to(2),
            ..BOUNDS
        },
    };

    /// Outages and dead letters that last for weeks.
    pub const RETENTION: Self = Self {
        name: "outage, dead letters, and redrive at the last moment",
        bounds: Bounds {
            receives: 2,
            adversities: Adversities {
                crashes: 1,
                lost_calls: 2,
                lost_publishes: 1,
                outages: 1,
                late_arrivals: 1,
                redrives: 4,
                ..Adversities::none(2)
            },
            ..BOUNDS
        },
    };

    /// The second delivery arrives after the window: it is another occurrence of the event.
    pub const REPEATED: Self = Self {
        name: "the event happens again",
        bounds: Bounds {
            arrivals: PerDelivery([SignedDuration::ZERO, SignedDuration::from_secs(4)]),
            repeat_window: Some(WINDOW),
            adversities: Adversities {
                stalls: 0,
                early_receives: 0,
                ..Adversities::up_to(2)
            },
            ..BOUNDS
        },
    };

    /// The second delivery arrives within the window, and may be processed long after it.
    pub const COPIED: Self = Self {
        name: "a copy of an event that may recur",
        bounds: Bounds {
            arrivals: PerDelivery([SignedDuration::ZERO, SignedDuration::from_secs(1)]),
            ..Self::REPEATED.bounds
        },
    };

    /// A worker dies, and a message goes to the dead letters after few receives.
    pub const DEATH: Self = Self {
        name: "a death, and dead letters soon",
        bounds: Bounds {
            receives: 2,
            adversities: Adversities {
                crashes: 1,
                redrives: 2,
                ..Adversities::none(1)
            },
            ..BOUNDS
        },
    };

    /// Any one trouble; its graph is explored in a moment.
    pub const SMALL: Self = Self {
        name: "any one trouble, and clocks that differ",
        bounds: Bounds {
            clocks: clocks([-1, 0, 1]),
            adversities: Adversities::up_to(1),
            ..BOUNDS
        },
    };
}

const BOUNDS: Bounds = Bounds {
    clocks: clocks([0, 0, 0]),
    digests: PerDelivery(["a", "a"]),
    arrivals: PerDelivery([SignedDuration::ZERO; 2]),
    repeat_window: None,
    // The shortest timeout, in whole seconds, in which a worker starts a wave at all.
    timeout: Duration::from_secs(3),
    overrun: Duration::from_secs(6),
    receives: timing::MOST_RECEIVES,
    adversities: Adversities::none(0),
};

/// The repeat window. Its length doesn't matter: only whether the second delivery is within it.
const WINDOW: Duration = Duration::from_secs(2);

const fn clocks(ahead: [i64; 3]) -> PerWorker<SignedDuration> {
    let [a, b, c] = ahead;
    PerWorker([
        SignedDuration::from_secs(a),
        SignedDuration::from_secs(b),
        SignedDuration::from_secs(c),
    ])
}

/// Which troubles may come, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Adversities {
    /// How many of the next five may come in all.
    pub troubles: u8,
    /// How often a worker dies.
    pub crashes: u8,
    /// How often a worker sleeps for longer than its time; it may wake up.
    pub stalls: u8,
    /// How often a call to the ledger isn't answered; it takes effect at once, later, or never.
    pub lost_calls: u8,
    /// How often a call to the bus isn't answered; it takes effect at once, later, or never.
    pub lost_publishes: u8,
    /// How often the queue hands out a message that it should still hide.
    pub early_receives: u8,
    /// How often all workers are away until the queue's retention is nearly over.
    pub outages: u8,
    /// How often the second delivery comes days after the first.
    pub late_arrivals: u8,
    /// How often dead letters go back to the queue.
    pub redrives: u8,
}

/// A trouble that may come at any moment.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// A worker dies.
    Crash,
    /// A worker sleeps for longer than its time.
    Stall,
    /// A call to the ledger isn't answered.
    LostCall,
    /// A call to the bus isn't answered.
    LostPublish,
    /// A message is visible too early.
    EarlyReceive,
}

impl Adversities {
    const fn none(troubles: u8) -> Self {
        Self {
            troubles,
            crashes: 0,
            stalls: 0,
            lost_calls: 0,
            lost_publishes: 0,
            early_receives: 0,
            outages: 0,
            late_arrivals: 0,
            redrives: 0,
        }
    }

    /// Allows each trouble once, and `troubles` in all.
    const fn up_to(troubles: u8) -> Self {
        Self {
            crashes: 1,
            stalls: 1,
            lost_calls: 1,
            lost_publishes: 1,
            early_receives: 1,
            ..Self::none(troubles)
        }
    }

    /// Whether one more of this trouble may come.
    #[must_use]
    pub fn allow(mut self, trouble: Trouble) -> bool {
        self.troubles > 0 && *self.of(trouble) > 0
    }

    /// Counts one trouble down.
    pub fn spend(&mut self, trouble: Trouble) {
        self.troubles = self.troubles.saturating_sub(1);
        let of_kind = self.of(trouble);
        *of_kind = of_kind.saturating_sub(1);
    }

    fn of(&mut self, trouble: Trouble) -> &mut u8 {
        match trouble {
            Trouble::Crash => &mut self.crashes,
            Trouble::Stall => &mut self.stalls,
            Trouble::LostCall => &mut self.lost_calls,
            Trouble::LostPublish => &mut self.lost_publishes,
            Trouble::EarlyReceive => &mut self.early_receives,
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.clocks.0.map(|clock| clock.as_secs());
        write!(
            f,
            "3 workers, clocks {a:+} s, {b:+} s and {c:+} s; timeout {} s; {} receives; {}",
            self.timeout.as_secs(),
            self.receives,
            self.adversities
        )?;
        if let Some(window) = self.repeat_window {
            let [_, second] = self.arrivals.0;
            let (second, window) = (second.as_secs(), window.as_secs());
            write!(
                f,
                "; the second arrives after {second} s, window {window} s"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Adversities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |counts: &[(u8, &str)]| {
            let there = counts.iter().filter(|(count, _)| *count > 0);
            let named: Vec<_> = there.map(|(count, of)| format!("{count} {of}")).collect();
            named.join(", ")
        };
        let troubles = named(&[
            (self.crashes, "× death"),
            (self.stalls, "× sleep past the deadline"),
            (self.lost_calls, "× no answer from the ledger"),
            (self.lost_publishes, "× no answer from the bus"),
            (self.early_receives, "× redelivery ahead of time"),
        ]);
        write!(f, "at most {} of {troubles}", self.troubles)?;
        let rest = named(&[
            (self.outages, "× outage for 14 days"),
            (self.late_arrivals, "× arrival 6 days late"),
            (self.redrives, "× redrive"),
        ]);
        if !rest.is_empty() {
            write!(f, "; {rest}")?;
        }
        Ok(())
    }
}
