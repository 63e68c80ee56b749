//! Every order of events that the processor's workers can come to with one event, explored by a
//! model checker ([stateright](https://www.stateright.rs)): `cargo prove ledger`.
//!
//! What is explored is what runs. The ledger's steps are [`shared::ledger::RULES`], from which the
//! processor's DynamoDB expressions are written too; what a refusal means, when a lease ends, how
//! long a worker may publish, what counts as settled, and when a record comes back are the
//! processor's own functions (see [`design`]). The order of a worker's steps is written down anew,
//! in [`model`], after `processor::batch` and its waves.
//!
//! # What there is
//!
//! Three workers and two deliveries of one event: one that happens once, with the same payload or
//! another one, or one that may recur, within the repeat window or behind it; the event's item in the
//! ledger; a queue that hands a visible message to any worker (no groups, which
//! is more than FIFO allows), dead letters, and a bus. Time goes on in ticks of a second, and over
//! days where nobody works. The shortest possible timeout has the most happen at its edges.
//!
//! What may go wrong, at any step, as often as a [`bounds::Scenario`] says:
//!
//! | trouble | is |
//! | --- | --- |
//! | death | a worker is gone, with all that it knows |
//! | sleep | a worker does nothing until its deadline, its lease, others' leases have passed, and wakes up |
//! | no answer | a call to the ledger or the bus takes effect at once, or later, or never; the worker repeats the very same call, or gives up and goes on. Who repeats it has sent it twice, and each may take effect. One to the ledger may come weeks after its worker's end |
//! | clocks | each worker's is off by -1 to +1 s, so two differ by as much as `CLOCK_SKEW` |
//! | redelivery | a message comes back though its worker has it still |
//! | outage | nobody works until the last hour of the queue's retention |
//! | dead letters | a message was received too often; it goes back soon, or in the last hour of their retention |
//! | expiry | the ledger forgets the item at any time once its retention is over, or never |
//!
//! # What is taken for granted
//!
//! - `PutEvents` that was sent takes effect before its worker's deadline, if at all; it is sent at least 1.5 s before that. Between its look at the clock and sending, a worker doesn't sleep. No bus can be fenced, so without this nothing holds.
//! - Nothing else hangs on the platform ending a worker at its deadline: one that sleeps lives on.
//! - Two clocks differ by no more than `CLOCK_SKEW`, and a worker's own doesn't run backwards: what it asks for later has a later time.
//! - What is visible is received while a worker has nothing to do, but for one outage; dead letters go back before their retention is over. Of those that lie there for 14 days it is their first time, and they are received soon after: 6 days between the deliveries, 14 in the queue and 14 among the dead letters are what the ledger's 35 days outlast. A duplicate that spends 14 more days somewhere is published again.
//! - The quarantine takes a conflict at once. A quarantine out of reach would be one more record that failed.
//! - Which of two equal things is called first doesn't matter: the first delivery is received first, and of idle workers with the same clock the first one receives.
//!
//! # What it can't show
//!
//! Troubles come in twos and threes, not in any number. States are told apart by 64-bit hashes; of
//! 10 million, two share one with a probability of 1 : 370,000. And it is a model: that the adapter
//! does what the rules say is tested against a DynamoDB, and the whole by killing it.
//!
//! Liveness is checked as safety: the graph is finite, each step uses up something or goes on in
//! time, and no state but those where all is settled is without a next step ([`properties`]). The
//! checker's own `eventually` would miss some paths where others join.

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
use stack::report::Out;

use self::bounds::Scenario;
use self::explore::{Explored, Tried};
use self::report::{Report, thousands};

/// So many states are a step of the progress.
const STEP: usize = 1_000_000;

/// Explores all scenarios, tries all mutants, and prints what came of it.
///
/// # Errors
///
/// A property doesn't hold, or a mutant isn't caught.
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
    let mut stage = progress.stage("trying what is wrong on purpose");
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
        stage.note(&format!("{} states", thousands(full)));
    }
}
