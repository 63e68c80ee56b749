//! Checks the table of bodies, `bodies/expected.json`. It says what must become of each body and,
//! where that isn't obvious, why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::catalogue::EVENT_NAMES;
use shared::event::Entity;

use super::*;

mod made;
mod odd;

/// The prefix of a body's name, if the body is too large for a file.
const MADE: &str = "made: ";

/// A row of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// A file's path, relative to the table's folder, or the name of a body that [`made::body`]
    /// makes.
    body: String,
    status: u16,
    class: String,
    message: Option<String>,
    kind: Option<String>,
    id: Option<String>,
    test: Option<bool>,
    /// The message group, if the row checks it.
    group: Option<String>,
    reason: Option<String>,
    because: Option<String>,
}

impl Row {
    fn bytes(&self) -> Vec<u8> {
        match self.body.strip_prefix(MADE) {
            Some(name) => made::body(name),
            None => std::fs::read(table_folder().join(&self.body)).unwrap(),
        }
    }

    /// The row that the table should have for a body with this outcome.
    fn with_outcome(self, read: Disposition) -> Self {
        let told = Self {
            body: self.body,
            because: self.because,
            ..Self::default()
        };
        match read {
            Disposition::Accepted { event, group_id } => Self {
                status: 202,
                class: "accepted".into(),
                message: Some(event.message),
                kind: Some(event.entity.kind),
                id: Some(event.entity.id),
                test: Some(event.test),
                group: self.group.map(|_| group_id),
                ..told
            },
            Disposition::Quarantined { reason } => Self {
                status: 202,
                class: "quarantined".into(),
                reason: Some(reason),
                ..told
            },
            Disposition::Refused(status) => Self {
                status,
                class: "too-large".into(),
                ..told
            },
            Disposition::Healthy => panic!("not a delivery"),
        }
    }
}

/// The crate's folder. Cargo runs tests in it. The path from build time may belong to another
/// checkout.
fn crate_folder() -> &'static Path {
    Path::new(".")
}

fn table_folder() -> PathBuf {
    crate_folder().join("bodies")
}

fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(table_folder().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn each_body_becomes_what_the_table_says() {
    let harness = Harness::default();
    let mut wrong = Vec::new();
    for expected in table() {
        println!("{}", expected.body);
        let read = harness.check(&SentRequest::delivery(expected.bytes()));
        let actual = expected.clone().with_outcome(read);
        if actual != expected {
            wrong.push(format!("expected {expected:?}\n     got {actual:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_body_becomes_the_same_as_base64_and_in_the_spill() {
    let harness = Harness::default();
    for row in table() {
        println!("{}", row.body);
        let mut sent = SentRequest::delivery(row.bytes());
        sent.base64 = true;
        sent.noise = "text/plain".into();
        sent.store.queues = false;
        let spilled = row.clone().with_outcome(harness.check(&sent));
        assert_eq!(spilled, row);
    }
}

#[test]
fn different_entities_of_the_table_have_different_message_groups() {
    let mut groups = BTreeMap::new();
    for row in table() {
        let (Some(kind), Some(id)) = (row.kind, row.id) else {
            continue;
        };
        let entity = Entity { kind, id };
        let other = groups.insert(entity.group_id(), entity.clone());
        assert!(other.is_none_or(|other| other == entity), "{entity:?}");
    }
}

#[test]
fn the_table_has_each_body_once_and_every_event_of_the_catalogue() {
    let files = files_of(&table_folder());
    let samples = files_of(&crate_folder().join("../../infra/events"));
    let mut unlisted: BTreeSet<PathBuf> = files.into_iter().chain(samples).collect();
    unlisted.remove(&table_folder().join("expected.json"));
    let mut unlisted: BTreeSet<_> = unlisted
        .iter()
        .map(|it| it.canonicalize().unwrap())
        .collect();

    let mut names = BTreeSet::from(EVENT_NAMES);
    let mut made = BTreeSet::new();
    for row in table() {
        let once = match row.body.strip_prefix(MADE) {
            Some(name) => made.insert(name.to_owned()),
            None => unlisted.remove(&table_folder().join(&row.body).canonicalize().unwrap()),
        };
        assert!(once, "{} is in the table twice", row.body);
        names.remove(row.message.unwrap_or_default().as_str());
    }
    assert!(unlisted.is_empty(), "not in the table: {unlisted:?}");
    assert!(names.is_empty(), "not in the table: {names:?}");
}

#[test]
fn what_is_promised_holds_for_the_fuzzers_corpus() {
    let harness = Harness::default();
    for file in files_of(&crate_folder().join("fuzz/corpus/delivery")) {
        println!("{}", file.display());
        let input = std::fs::read(file).unwrap();
        harness.check_input(&input);
    }
}
