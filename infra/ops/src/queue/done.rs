//! What was put back or deleted, and what a person is told about it.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

use anyhow::{Result, anyhow};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Named, Settled};
use crate::words::{Span, counted};

/// What is older than this is called old before it goes back.
const OLD: SignedDuration = SignedDuration::from_hours(1);

/// What was put back or deleted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// What was done, in a sentence.
    pub what: String,
    /// The ids of the deliveries or messages.
    pub ids: Vec<String>,
}

/// How many were settled, and what a person is told about it. `planned` are the ids that were to be
/// settled, as [`Named`] has them. `end` ends a sentence, such as `deleted`.
pub(crate) fn report(
    settled: Settled,
    planned: &[[String; 2]],
    end: &str,
    [one, many]: [&str; 2],
) -> (usize, Result<Done>) {
    let (count, all) = (settled.ids.len(), planned.len());
    let some = || format!("{count} of {all} {many} were {end}; the others stay where they are");
    let done = match settled.failure {
        Some(failure) => Err(failure.context(some())),
        None if count < all => Err(anyhow!("{}: they can't be seen now, look again", some())),
        None => {
            let were = if count == 1 { "was" } else { "were" };
            let what = format!("{} {were} {end}.", counted(count, one, many));
            Ok(Done {
                what,
                ids: names(settled.ids, planned),
            })
        }
    };
    (count, done)
}

/// The ids by which lists show what was settled. What no list has shown yet has only its message
/// id.
fn names(mut settled: HashSet<String>, planned: &[[String; 2]]) -> Vec<String> {
    let mut names = Vec::new();
    for [id, message_id] in planned {
        if settled.remove(message_id) {
            names.push(id.clone());
        }
    }
    names.extend(settled);
    names
}

/// The ids of what is settled.
pub(crate) fn planned<'a, T: Named + 'a>(all: impl Iterator<Item = &'a T>) -> Vec<[String; 2]> {
    all.map(|one| one.ids().map(str::to_owned)).collect()
}

/// Says that what goes back is old, if it is.
pub(crate) fn age(times: impl Iterator<Item = Timestamp>, now: Timestamp) -> Option<String> {
    let age = now.duration_since(times.min()?);
    let text = "consumers act on it as on a new event.";
    (age > OLD).then(|| format!("The oldest is {} old: {text}", Span(age)))
}

impl Display for Done {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}
