//! A plan in force: its decisions about each event and each call.
//!
//! Every decision is drawn from the seed and the number of the event or call. All draws of one
//! number are always made, even if they are not needed. So a decision depends neither on the order
//! of events and calls nor on the other shares.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng, seq::IndexedRandom as _};

use crate::{
    deliveries::events::Fate,
    deliveries::held::Hold,
    faults::plan::{Dark, Late, Plan},
};

/// Longest time that a delivery waits to be overtaken if the plan has no `delay.mostMs`.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// The statuses of calls that the plan makes fail.
const FAILURES: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// A plan that is in force, with the time of its start.
pub(crate) struct PlanInForce {
    plan: Plan,
    since: Timestamp,
    registration_lost: bool,
}

/// The manner in which an event is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) twice: bool,
    /// Whether the event has only its name and an id, if it is a status event.
    pub(crate) bare: bool,
    pub(crate) hold: Option<Hold>,
}

/// The plan's fault of a call that reads callouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollFate {
    /// The call fails with this status.
    Fails(StatusCode),
    /// The answer shows the world at this earlier time.
    Stale(Timestamp),
}

/// The kind of thing that a decision is about. Each kind has numbers of its own.
#[derive(Clone, Copy)]
enum About {
    Event = 0,
    Call = 1,
}

/// The random draws for one event or call, each between 0 and 1.
struct Dice(ChaCha8Rng);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0.random()
    }

    fn hits(&mut self, share: f64) -> bool {
        self.roll() < share
    }

    fn late(&mut self, late: &Late) -> Option<Duration> {
        let (hit, part) = (self.hits(late.share), self.roll());
        hit.then(|| Duration::from_millis(late.most_ms).mul_f64(part))
    }
}

impl PlanInForce {
    pub(crate) fn begin(plan: Plan, now: Timestamp) -> Self {
        Self {
            plan,
            since: now,
            registration_lost: false,
        }
    }

    /// Decides how event `n` is sent, or returns why it isn't.
    pub(crate) fn manner(&self, n: u64, now: Timestamp) -> Result<Manner, Fate> {
        if self.is_dark(now) {
            return Err(Fate::Dark);
        }
        let shares = &self.plan.deliveries;
        let mut dice = self.dice(About::Event, n);
        let dropped = dice.hits(shares.drop);
        let twice = dice.hits(shares.duplicate);
        let behind = dice.hits(shares.reorder);
        let late = dice.late(&shares.delay);
        let bare = dice.hits(shares.bare);
        if dropped {
            return Err(Fate::Dropped);
        }
        let wait = if behind {
            Some(longest_wait(&shares.delay))
        } else {
            late
        };
        let hold = wait.map(|wait| Hold {
            until: now + wait,
            behind,
        });
        Ok(Manner { twice, bare, hold })
    }

    /// Decides the fault of call `n`, which reads callouts, if it has one.
    pub(crate) fn poll(&self, n: u64, now: Timestamp) -> Option<PollFate> {
        let shares = &self.plan.polls;
        let mut dice = self.dice(About::Call, n);
        let fails = dice.hits(shares.fail);
        let late = dice.late(&shares.stale);
        if fails {
            return FAILURES.choose(&mut dice.0).copied().map(PollFate::Fails);
        }
        late.map(|late| PollFate::Stale(now - late))
    }

    /// Whether `now` is in a dark window, in which AURA sends nothing.
    pub(crate) fn is_dark(&self, now: Timestamp) -> bool {
        self.dark_until(now).is_some()
    }

    /// Whether another registration replaces ours now. This returns true only once.
    pub(crate) fn loses_registration(&mut self, now: Timestamp) -> bool {
        let lost = self.registration_loss().is_some_and(|at| at <= now);
        self.registration_lost |= lost;
        lost
    }

    /// The next time at which the plan changes something: the end of a dark window, or the loss of
    /// the registration.
    pub(crate) fn next_turn(&self, now: Timestamp) -> Option<Timestamp> {
        let turns = [self.dark_until(now), self.registration_loss()];
        turns.into_iter().flatten().min()
    }

    fn registration_loss(&self) -> Option<Timestamp> {
        let after = self.plan.lose_registration_after_seconds;
        let after = after.filter(|_| !self.registration_lost)?;
        Some(self.since + Duration::from_secs_f64(after))
    }

    fn dark_until(&self, now: Timestamp) -> Option<Timestamp> {
        let dark = self.plan.dark.as_ref()?;
        let left = left(dark, now.duration_since(self.since))?;
        Some(now + Duration::from_secs_f64(left))
    }

    fn dice(&self, about: About, n: u64) -> Dice {
        let mut rng = ChaCha8Rng::seed_from_u64(self.plan.seed);
        rng.set_stream(n << 1 | about as u64);
        Dice(rng)
    }
}

fn longest_wait(delay: &Late) -> Duration {
    match delay.most_ms {
        0 => LONGEST_WAIT,
        most => Duration::from_millis(most),
    }
}

/// Number of seconds that are left of a dark window when the plan has been in force for `over`.
/// Returns `None` outside of the windows.
fn left(dark: &Dark, over: SignedDuration) -> Option<f64> {
    let since_first = over.as_secs_f64() - dark.first_after_seconds;
    let phase = match dark.every_seconds {
        Some(every) => since_first % every,
        None => since_first,
    };
    (since_first >= 0.0 && phase < dark.for_seconds).then_some(dark.for_seconds - phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::plan::{DeliveryFaults, PollFaults};

    const EVENTS: u64 = 10_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn stormy(seed: u64) -> Plan {
        let late = || Late {
            share: 0.1,
            most_ms: 2000,
        };
        Plan {
            seed,
            deliveries: DeliveryFaults {
                drop: 0.2,
                duplicate: 0.1,
                reorder: 0.1,
                delay: late(),
                bare: 0.3,
            },
            polls: PollFaults {
                fail: 0.1,
                stale: late(),
            },
            ..Plan::default()
        }
    }

    fn manners(plan: Plan) -> Vec<Result<Manner, Fate>> {
        let plan = PlanInForce::begin(plan, at(0));
        (1..=EVENTS).map(|n| plan.manner(n, at(0))).collect()
    }

    fn polls(plan: Plan) -> Vec<Option<PollFate>> {
        let plan = PlanInForce::begin(plan, at(0));
        (1..=EVENTS).map(|n| plan.poll(n, at(0))).collect()
    }

    /// Whether the share of hits is within five standard deviations of the expected share.
    fn is_about(share: f64, hits: usize, draws: usize) -> bool {
        let draws = f64::from(u32::try_from(draws).unwrap());
        let hits = f64::from(u32::try_from(hits).unwrap());
        let deviation = (draws * share * (1.0 - share)).sqrt();
        (hits - draws * share).abs() < 5.0 * deviation
    }

    #[test]
    fn decisions_depend_on_the_seed_and_not_on_time_or_order() {
        assert_eq!(manners(stormy(1)), manners(stormy(1)));
        assert_ne!(manners(stormy(1)), manners(stormy(2)));
        assert_eq!(polls(stormy(1)), polls(stormy(1)));
        assert_ne!(polls(stormy(1)), polls(stormy(2)));
        let fate = |plan: &PlanInForce, n, now: Timestamp| {
            let manner = plan.manner(n, now)?;
            let wait = manner.hold.map(|hold| hold.until.duration_since(now));
            Ok::<_, Fate>((manner.twice, wait))
        };
        let plan = PlanInForce::begin(stormy(1), at(0));
        let again = PlanInForce::begin(stormy(1), at(500));
        let forwards: Vec<_> = (1..=EVENTS).map(|n| fate(&plan, n, at(7))).collect();
        let backwards = (1..=EVENTS).rev().map(|n| fate(&again, n, at(9000)));
        assert!(backwards.eq(forwards.into_iter().rev()));
    }

    #[test]
    fn one_share_changes_nothing_for_another() {
        let mut calm = stormy(1);
        calm.deliveries.reorder = 0.0;
        calm.deliveries.drop = 0.0;
        let is_delayed = |manner: &Manner| manner.hold.is_some_and(|hold| !hold.behind);
        for (stormy, calm) in manners(stormy(1)).into_iter().zip(manners(calm)) {
            let (Ok(stormy), Ok(calm)) = (stormy, calm) else {
                continue;
            };
            assert_eq!((stormy.twice, stormy.bare), (calm.twice, calm.bare));
            let delayed = is_delayed(&stormy).then_some(stormy.hold);
            assert!(delayed.is_none_or(|hold| hold == calm.hold));
        }
        let mut steady = self::stormy(1);
        steady.polls.fail = 0.0;
        for (stormy, steady) in polls(self::stormy(1)).into_iter().zip(polls(steady)) {
            assert!(matches!(stormy, Some(PollFate::Fails(_))) || stormy == steady);
        }
    }

    #[test]
    fn shares_of_events_are_what_the_plan_says() {
        let manners = manners(stormy(1));
        let sent: Vec<_> = manners.iter().flatten().collect();
        let dropped = manners.len() - sent.len();
        assert!(is_about(0.2, dropped, manners.len()), "{dropped}");
        let count = |is: fn(&Manner) -> bool| sent.iter().filter(|one| is(one)).count();
        let twice = count(|manner| manner.twice);
        assert!(is_about(0.1, twice, sent.len()), "{twice}");
        let behind = count(|manner| manner.hold.is_some_and(|hold| hold.behind));
        assert!(is_about(0.1, behind, sent.len()), "{behind}");
        let late = count(|manner| manner.hold.is_some_and(|hold| !hold.behind));
        assert!(is_about(0.1, late, sent.len() - behind), "{late}");
        let bare = count(|manner| manner.bare);
        assert!(is_about(0.3, bare, sent.len()), "{bare}");
        let waits = sent.iter().filter_map(|manner| manner.hold);
        assert!(waits.clone().all(|hold| hold.until <= at(2)));
        assert!(waits.clone().any(|hold| hold.until < at(1)));
    }

    #[test]
    fn shares_of_calls_are_what_the_plan_says() {
        let polls = polls(stormy(1));
        let failed = |status| {
            let failed = Some(PollFate::Fails(status));
            polls.iter().filter(|&&poll| poll == failed).count()
        };
        for status in FAILURES {
            assert!(is_about(0.1 / 4.0, failed(status), polls.len()), "{status}");
        }
        let earlier: Vec<_> = polls
            .iter()
            .filter_map(|poll| match poll {
                Some(PollFate::Stale(moment)) => Some(*moment),
                _ => None,
            })
            .collect();
        let failures = FAILURES.map(failed).iter().sum::<usize>();
        assert!(is_about(0.1, earlier.len(), polls.len() - failures));
        assert!(
            earlier
                .iter()
                .all(|&moment| at(-2) <= moment && moment <= at(0))
        );
        assert!(earlier.iter().any(|&moment| moment < at(-1)));
    }

    #[test]
    fn shares_of_zero_and_one_are_exact() {
        let mut plan = Plan::default();
        let at_once = Ok(Manner::default());
        assert!(manners(plan.clone()).iter().all(|one| *one == at_once));
        assert!(polls(plan.clone()).iter().all(Option::is_none));
        plan.deliveries.duplicate = 1.0;
        plan.deliveries.reorder = 1.0;
        plan.deliveries.bare = 1.0;
        let hold = Some(Hold {
            until: at(3),
            behind: true,
        });
        let manner = Ok(Manner {
            twice: true,
            bare: true,
            hold,
        });
        assert!(manners(plan.clone()).iter().all(|one| *one == manner));
        plan.deliveries.drop = 1.0;
        let dropped = Err(Fate::Dropped);
        assert!(manners(plan).iter().all(|one| *one == dropped));
    }

    #[test]
    fn it_is_dark_in_the_windows_and_light_between_them() {
        let dark = |every_seconds| Dark {
            every_seconds,
            for_seconds: 120.0,
            first_after_seconds: 60.0,
        };
        let until = |every, second| {
            let plan = Plan {
                dark: Some(dark(every)),
                ..Plan::default()
            };
            let plan = PlanInForce::begin(plan, at(1000));
            assert_eq!(plan.next_turn(at(second)), plan.dark_until(at(second)));
            let is_dark = plan.manner(1, at(second)) == Err(Fate::Dark);
            assert_eq!(is_dark, plan.is_dark(at(second)));
            plan.dark_until(at(second))
        };
        for every in [Some(600.0), None] {
            assert_eq!(until(every, 1000), None);
            assert_eq!(until(every, 1059), None);
            assert_eq!(until(every, 1060), Some(at(1180)));
            assert_eq!(until(every, 1179), Some(at(1180)));
            assert_eq!(until(every, 1180), None);
            assert_eq!(until(every, 1659), None);
        }
        assert_eq!(until(Some(600.0), 1660), Some(at(1780)));
        assert_eq!(until(Some(600.0), 1780), None);
        assert_eq!(until(None, 1660), None);
    }

    #[test]
    fn the_registration_is_lost_once() {
        let plan = Plan {
            lose_registration_after_seconds: Some(90.0),
            ..Plan::default()
        };
        let mut plan = PlanInForce::begin(plan, at(0));
        assert_eq!(plan.next_turn(at(0)), Some(at(90)));
        assert!(!plan.loses_registration(at(89)));
        assert!(plan.loses_registration(at(90)));
        assert!(!plan.loses_registration(at(91)));
        assert_eq!(plan.next_turn(at(91)), None);
        assert!(!PlanInForce::begin(Plan::default(), at(0)).loses_registration(at(99)));
    }
}
