//! Runs the checker and reads what it found.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use stateright::{Checker, Expectation, HasDiscoveries, Model as _, Path};

use crate::ledger::bounds::{Bounds, Scenario};
use crate::ledger::design::Design;
use crate::ledger::model::{Action, LedgerModel};
use crate::ledger::mutants::Mutant;
use crate::ledger::properties;
use crate::ledger::state::State;
use crate::ledger::story;

/// Between two looks at how far the checker is.
const INTERVAL: Duration = Duration::from_millis(50);

/// What came of a scenario.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explored {
    /// The scenario.
    pub scenario: &'static str,
    /// Its bounds, for people.
    pub bounds: String,
    /// How large its graph is.
    pub size: Size,
    /// Each property.
    pub verdicts: Vec<Verdict>,
}

/// How much was explored.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// Steps that were taken: states, and each as often as a step leads to it.
    pub states: usize,
    /// Different states.
    pub unique_states: usize,
    /// States on the longest path that was walked.
    pub depth: usize,
    /// How long it took.
    pub seconds: f64,
}

/// What is known of a property.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The property.
    pub property: &'static str,
    /// What is expected of it.
    pub kind: Kind,
    /// It is as expected.
    pub holds: bool,
    /// A path on which it fails, if it isn't.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counter_example: Vec<String>,
}

/// What is expected of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It holds in every state.
    Always,
    /// It holds in some state.
    Sometimes,
}

/// What came of a mutant.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// The difference to the real design.
    pub mutant: &'static str,
    /// The property that it must violate; without one, all must hold.
    pub violates: Option<&'static str>,
    /// It was as expected.
    pub as_expected: bool,
    /// How much was explored until that was known.
    pub size: Size,
    /// How the property was violated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counter_example: Vec<String>,
}

type Discoveries = HashMap<&'static str, Path<State, Action>>;

/// Explores all that the real design can do in a scenario. `note` hears how many states were
/// seen so far.
pub fn explore(scenario: &Scenario, note: impl FnMut(usize)) -> Explored {
    let model = LedgerModel::new(scenario.bounds, Design::REAL, properties::of);
    let (size, found) = search_all(model, note);
    Explored {
        scenario: scenario.name,
        bounds: scenario.bounds.to_string(),
        size,
        verdicts: verdicts(&scenario.bounds, &found),
    }
}

/// Tries a mutant: until its property is violated, or through all that it can do.
pub fn try_mutant(mutant: &Mutant, note: impl FnMut(usize)) -> Tried {
    let bounds = &mutant.scenario.bounds;
    let model = LedgerModel::new(*bounds, mutant.design.clone(), properties::of);
    let (size, found) = match mutant.violates {
        Some(property) => search_for(model, property, note),
        None => search_all(model, note),
    };
    let mut violated = verdicts(bounds, &found)
        .into_iter()
        .filter(|verdict| verdict.kind == Kind::Always && !verdict.holds);
    let violated = match mutant.violates {
        Some(property) => violated.find(|verdict| verdict.property == property),
        None => violated.next(),
    };
    let as_expected = violated.is_some() == mutant.violates.is_some();
    let counter_example = violated.map_or(Vec::new(), |verdict| verdict.counter_example);
    Tried {
        mutant: mutant.name,
        violates: mutant.violates,
        as_expected,
        size,
        counter_example,
    }
}

/// Depth first, which needs the least memory.
fn search_all(model: LedgerModel, note: impl FnMut(usize)) -> (Size, Discoveries) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    watch(|| model.checker().threads(threads).spawn_dfs(), note)
}

/// Breadth first and by one thread, so that the path is short, and the same each time.
fn search_for(
    model: LedgerModel,
    property: &'static str,
    note: impl FnMut(usize),
) -> (Size, Discoveries) {
    let until = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    watch(|| model.checker().finish_when(until).spawn_bfs(), note)
}

fn watch<C: Checker<LedgerModel>>(
    start: impl FnOnce() -> C,
    mut note: impl FnMut(usize),
) -> (Size, Discoveries) {
    let began = Instant::now();
    let checker = start();
    while !checker.is_done() {
        thread::sleep(INTERVAL);
        note(checker.state_count());
    }
    let checker = checker.join();
    let size = Size {
        states: checker.state_count(),
        unique_states: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: began.elapsed().as_secs_f64(),
    };
    (size, checker.discoveries())
}

fn verdicts(bounds: &Bounds, discoveries: &Discoveries) -> Vec<Verdict> {
    let verdict = |property: stateright::Property<LedgerModel>| {
        let found = discoveries.get(property.name);
        let kind = match property.expectation {
            Expectation::Sometimes => Kind::Sometimes,
            Expectation::Always | Expectation::Eventually => Kind::Always,
        };
        let counter_example = found.filter(|_| kind == Kind::Always);
        Verdict {
            property: property.name,
            kind,
            holds: found.is_some() == (kind == Kind::Sometimes),
            counter_example: counter_example.map_or(Vec::new(), |path| story::tell(bounds, path)),
        }
    };
    properties::of(bounds).into_iter().map(verdict).collect()
}
