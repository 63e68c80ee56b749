//! The calls to AWS that one batch takes. The harness learns them from `processor`, and has
//! `bench-processor-calls` make the same.

use serde::{Deserialize, Serialize};

/// Steps of a batch, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan(pub Vec<Step>);

/// Calls that are made side by side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// One `ChangeMessageVisibilityBatch` with this number of records.
    Hide(u32),
    /// One `BatchGetItem` with this number of notes.
    LookUp(u32),
    /// An `UpdateItem` for each claim: those of new events are granted, those of known ones refused.
    Claim {
        /// Number of claims that are granted.
        new: u32,
        /// Number of claims that are refused.
        known: u32,
    },
    /// One `PutEvents`, with the length in bytes of each event's detail.
    Publish(Vec<usize>),
    /// An `UpdateItem` for each event that is marked as published, and for each note.
    End {
        /// Number of events that are marked.
        marks: u32,
        /// Number of notes, for example of a callout that was opened.
        notes: u32,
    },
}

impl Plan {
    /// Adds a step. A step of claims, or of marks and notes, becomes one with an equal step before
    /// it, because these are made side by side.
    pub fn push(&mut self, step: Step) {
        match (self.0.last_mut(), &step) {
            (
                Some(Step::Claim { new, known }),
                Step::Claim {
                    new: more_new,
                    known: more_known,
                },
            ) => {
                *new += more_new;
                *known += more_known;
            }
            (
                Some(Step::End { marks, notes }),
                Step::End {
                    marks: more_marks,
                    notes: more_notes,
                },
            ) => {
                *marks += more_marks;
                *notes += more_notes;
            }
            _ => self.0.push(step),
        }
    }
}
