//! Explores with a model checker ([stateright](https://www.stateright.rs)) every order of events
//! that the processor's workers can produce for one event: `cargo prove ledger`.
//!
//! The model runs the production code. The ledger's steps are [`shared::ledger::RULES`]; the
//! processor's DynamoDB expressions are written from the same rules. The processor's own functions
//! (see [`design`]) decide what a refusal means, when a lease ends, how long a worker may publish,
//! what counts as settled, and when a record comes back. Only the order of a worker's steps is
//! written again for the model, in [`model`]; it follows `processor::batch` and its waves.
//!
//! # What the model holds
//!
//! - Three workers.
//! - Two deliveries of one event. Either the event happens once, and the second delivery has the
//!   same payload or another one; or it may recur, and the second delivery arrives within the
//!   repeat window or after it.
//! - The event's item in the ledger.
//! - A queue that hands a visible message to any worker. It has no message groups, so it allows
//!   more orders than a FIFO queue.
//! - Dead letters, and a bus.
//!
//! Time goes on in ticks of a second; while nobody works, it jumps over days. The timeout is the
//! shortest possible one, so that most of what happens falls on the edges of its intervals.
//!
//! These troubles can come at any step, as often as a [`bounds::Scenario`] allows:
//!
//! | trouble | meaning |
//! | --- | --- |
//! | death | a worker dies and loses everything it knows |
//! | sleep | a worker does nothing until its deadline, its lease and others' leases have passed; then it wakes up |
//! | no answer | a call to the ledger or the bus takes effect at once, later, or never. The worker repeats the very same call, or gives up and goes on. A repeated call was sent twice, and each of the two may take effect. A call to the ledger may take effect weeks after its worker's end |
//! | clocks | each worker's clock is off by -1 to +1 s, so two clocks differ by up to `CLOCK_SKEW` |
//! | redelivery | a message comes back while its worker still has it |
//! | outage | nobody works until the last hour of the queue's retention |
//! | dead letters | a message was received too often; it goes back soon, or in the last hour of the dead letters' retention |
//! | expiry | the ledger forgets the item at any time after its retention, or never |
//!
//! # Assumptions
//!
//! - A `PutEvents` call takes effect before its worker's deadline, or never; it is sent at least
//!   1.5 s before that deadline. Between looking at the clock and sending, a worker doesn't sleep.
//!   A bus can't be fenced, so without this assumption no property holds.
//! - Nothing else depends on the platform ending a worker at its deadline: a sleeping worker lives
//!   on.
//! - Two clocks differ by at most `CLOCK_SKEW`. A worker's own clock doesn't run backwards: a later
//!   call has a later time.
//! - A worker with nothing to do receives any visible message, except during one outage.
//! - Dead letters go back before their retention is over. A message lies there for 14 days only the
//!   first time, and is received soon after it goes back. The ledger's 35 days outlast 6 days
//!   between the deliveries, 14 in the queue and 14 among the dead letters. A duplicate that spends
//!   14 more days somewhere is published again.
//! - The quarantine stores a conflict at once. If the quarantine can't be reached, the record fails
//!   like any other.
//! - Names don't matter: the first delivery is received first, and of idle workers with the same
//!   clock the first one receives.
//!
//! # Limits
//!
//! - A scenario has two or three troubles, not any number of them.
//! - Each message is a batch of its own: the model never hides a first receive anew.
//! - States are compared by 64-bit hashes; among 10 million states, two share a hash with a
//!   probability of 1 : 370,000.
//! - It is a model. Tests against a DynamoDB check that the adapter does what the rules say, and
//!   `cargo prove torture` checks the whole by killing the processor.
//!
//! Liveness is checked as safety. The graph is finite, and each step uses up something or moves
//! time forward. So it is enough that every state has a next step unless everything is settled
//! ([`properties`]). The checker's own `eventually` would miss some paths where others join.

pub mod bounds;
pub mod design;
pub mod explore;
pub mod item;
pub mod model;
pub mod mutants;
pub mod parties;
pub mod properties;
pub mod report;
pub mod state;
pub mod story;

use anyhow::Result;
use stack::progress::{Progress, Stage};
use stack::report::{Out, grouped};

use self::bounds::Scenario;
use self::explore::{Explored, Tried};
use self::report::Report;

/// Number of states between two lines of progress.
const STEP: usize = 1_000_000;

/// Explores all scenarios, tries all mutants, and prints the result.
///
/// # Errors
///
/// Fails if a property doesn't hold or a mutant isn't caught.
pub fn prove(json: bool, progress: Progress) -> Result<()> {
    let scenarios = Scenario::ALL.iter();
    let scenarios = scenarios.map(|scenario| explored(progress, scenario));
    let report = Report::new(scenarios.collect(), tried(progress));
    Out { json }.conclude(&report)
}

fn explored(progress: Progress, scenario: &Scenario) -> Explored {
    let mut stage = progress.stage(&format!("exploring: {}", scenario.name));
    let explored = explore::explore(scenario, |states| note(&mut stage, states));
    stage.done(&format!("explored: {}", scenario.name));
    explored
}

fn tried(progress: Progress) -> Vec<Tried> {
    let mut stage = progress.stage("trying designs that are wrong on purpose");
    let mutants = mutants::all();
    let tried = mutants
        .iter()
        .map(|mutant| explore::try_mutant(mutant, |states| note(&mut stage, states)))
        .collect();
    stage.done(&format!("tried {} mutants", mutants.len()));
    tried
}

fn note(stage: &mut Stage, states: usize) {
    let full = states - states % STEP;
    if full > 0 {
        stage.note(&format!("{} states", grouped(full)));
    }
}
