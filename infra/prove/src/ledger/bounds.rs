//! How much the model holds: what keeps the graph of its states finite.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use processor::timing;
use serde::Serialize;

use crate::ledger::design::days;
use crate::ledger::parties::{PerDelivery, PerWorker};

/// How long the queue keeps a message, and how long the dead letters do, as template.yaml has it.
pub const QUEUE_RETENTION: SignedDuration = days(14);

/// Before the retention of a message ends: what comes "as late as it can" comes then.
pub const LAST_HOUR: SignedDuration = SignedDuration::from_hours(1);

/// How much later than the first delivery the second may arrive and still be recognised whatever
/// happens to it: the ledger's 35 days less 14 in the queue and 14 among the dead letters, and a
/// day for it to be received at last.
pub const LATEST_ARRIVAL: SignedDuration = days(6);

/// What a run of the model can do.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What each worker's clock is ahead.
    pub clocks: PerWorker<SignedDuration>,
    /// The payload's digest of each delivery.
    pub digests: PerDelivery<&'static str>,
    /// When each delivery arrives, since the start: the earliest time at which it is received.
    pub arrivals: PerDelivery<SignedDuration>,
    /// Of a recurring event; `None` if the event happens once.
    pub repeat_window: Option<Duration>,
    /// The function's timeout.
    pub timeout: Duration,
    /// How long a stalled worker may live beyond its deadline.
    pub overrun: Duration,
    /// How often a message is received before it goes to the dead letters.
    pub receives: u32,
    /// What may go wrong, and how often in all.
    pub adversities: Adversities,
}

impl Bounds {
    /// Whether both deliveries are of one occurrence: then one of them is to be published, and else
    /// both.
    #[must_use]
    pub fn are_copies(&self) -> bool {
        let [first, second] = self.arrivals.0;
        let apart = (second - first).unsigned_abs();
        self.repeat_window.is_none_or(|window| apart <= window)
    }
}

/// A part of all that can happen. All of it at once would take for ever.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// How much there is of it.
    pub bounds: Bounds,
}

impl Scenario {
    /// What every run of the command explores.
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

    /// Every worker's clock is another one.
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

    /// Wakes up when others have taken over, whose clocks are as far off as may be.
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

    /// Clocks agree, and any two troubles come, the same one twice too.
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

    /// The second delivery says something else.
    pub const CONFLICT: Self = Self {
        name: "another payload",
        bounds: Bounds {
            digests: PerDelivery(["a", "b"]),
            adversities: Adversities::up_to(2),
            ..BOUNDS
        },
    };

    /// Weeks.
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

    /// The second delivery arrives behind the window: another occurrence of the same event.
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

    /// A death, and few receives.
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

    /// One trouble, whose graph is explored in a moment.
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
    // The shortest in which a wave is started at all, in whole seconds.
    timeout: Duration::from_secs(3),
    overrun: Duration::from_secs(6),
    receives: timing::MOST_RECEIVES,
    adversities: Adversities::none(0),
};

/// How long it is doesn't matter: what counts is on which side of it the second delivery is.
const WINDOW: Duration = Duration::from_secs(2);

const fn clocks(ahead: [i64; 3]) -> PerWorker<SignedDuration> {
    let [a, b, c] = ahead;
    PerWorker([
        SignedDuration::from_secs(a),
        SignedDuration::from_secs(b),
        SignedDuration::from_secs(c),
    ])
}

/// What may go wrong, how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Adversities {
    /// So many of the following five together.
    pub troubles: u8,
    /// A worker dies.
    pub crashes: u8,
    /// A worker sleeps for longer than its time, and may wake up.
    pub stalls: u8,
    /// A call to the ledger isn't answered: it takes effect at once, later, or never.
    pub lost_calls: u8,
    /// A call to the bus isn't answered, likewise.
    pub lost_publishes: u8,
    /// The queue hands a message over that it should still hide.
    pub early_receives: u8,
    /// All workers are away until the queue's retention is nearly over.
    pub outages: u8,
    /// The second delivery comes days after the first.
    pub late_arrivals: u8,
    /// Dead letters go back to the queue.
    pub redrives: u8,
}

/// What may go wrong at any moment.
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

    /// Each of them once, and so many in all.
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

    /// Whether there may be one more of these.
    #[must_use]
    pub fn allow(mut self, trouble: Trouble) -> bool {
        self.troubles > 0 && *self.of(trouble) > 0
    }

    /// Notes one.
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
