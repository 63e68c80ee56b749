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

/// Pause between two looks at the checker's progress.
const INTERVAL: Duration = Duration::from_millis(50);

/// Result of exploring a scenario.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explored {
    /// The scenario that was explored.
    pub scenario: &'static str,
    /// Bounds of the scenario, as text for people.
    pub bounds: String,
    /// Size of the scenario's graph.
    pub size: Size,
    /// Verdict on each property.
    pub verdicts: Vec<Verdict>,
}

/// How much the checker explored.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// Steps taken: a state counts as often as a step leads to it.
    pub states: usize,
    /// Number of different states.
    pub unique_states: usize,
    /// Number of states on the longest path walked.
    pub depth: usize,
    /// Time the exploration took.
    pub seconds: f64,
}

/// Verdict of the checker on a property.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Name of the property.
    pub property: &'static str,
    /// Whether the property must hold in every state or in some state.
    pub kind: Kind,
    /// Whether the property is as expected.
    pub holds: bool,
    /// A path on which the property fails; empty if it is as expected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counter_example: Vec<String>,
}

/// In which states a property must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The property must hold in every state.
    Always,
    /// The property must hold in at least one state.
    Sometimes,
}

/// Result of trying a mutant.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// The difference from the real design.
    pub mutant: &'static str,
    /// The property that the mutant must violate; `None` if all must hold.
    pub violates: Option<&'static str>,
    /// Whether the result is as expected.
    pub as_expected: bool,
    /// How much the checker explored until the result was known.
    pub size: Size,
    /// The path on which the mutant violates its property.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counter_example: Vec<String>,
}

type Discoveries = HashMap<&'static str, Path<State, Action>>;

/// Explores everything that the real design can do in a scenario. `note` is called with the number
/// of states seen so far.
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

/// Tries a mutant, either until its property is violated or through everything that it can do.
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

/// Searches depth first, which needs the least memory.
fn search_all(model: LedgerModel, note: impl FnMut(usize)) -> (Size, Discoveries) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    watch(|| model.checker().threads(threads).spawn_dfs(), note)
}

/// Searches breadth first with one thread, so that the path is short and the same each time.
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
