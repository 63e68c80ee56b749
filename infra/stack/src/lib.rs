//! The whole system on one machine, for `cargo local`, `cargo prove` and the end-to-end tests.
//!
//! [`running`] brings it up for the commands. These are the parts, each of which can be used alone; drills
//! and end-to-end tests put them together themselves, with IAM and shorter times:
//!
//! | module | does |
//! | --- | --- |
//! | [`python`] | makes a virtual environment, such as MiniStack's |
//! | [`package`] | builds the functions and zips them |
//! | [`ministack`] | runs MiniStack, the local AWS; [`account`] is one account of it |
//! | [`template`], [`bundle`] | points the real template at the packages, and lists both for upload |
//! | [`stack`] | deploys them with CloudFormation; [`boto`] makes the calls |
//! | [`system`] | connects the stack with a stand-in for AURA ([`aura_sim`]), in one account |
//! | [`running`] | does all of the above, for the commands |
//! | [`consumers`], [`ledger`] | reads what consumers received, and what the ledger holds |
//! | [`function_logs`] | reads what the functions logged |
//! | [`ops`] | runs `aura-ops`, the operators' command |
//! | [`reconciler`] | runs the reconciler, once or by a schedule of seconds |
//! | [`settled`], [`tally`] | waits until it is time to count; compares with what AURA sent |
//! | [`proxy`], [`processes`] | causes AWS's faults; kills functions with SIGKILL |
//! | [`progress`], [`report`] | shows people what a command waits for, and its result |
//!
//! Nothing is left behind, however this process ends:
//!
//! - Child processes run in process groups that end when their owner is dropped ([`process`]).
//! - A signal drops whatever is running ([`signals`]).
//! - MiniStack ends by itself when this process ends ([`ministack`]).
//! - The next run removes what a killed run could not remove ([`folder`]).

pub mod account;
pub mod boto;
pub mod bundle;
pub mod consumers;
pub mod folder;
pub mod function_logs;
pub mod ledger;
mod log;
pub mod ministack;
pub mod ops;
pub mod package;
pub mod process;
pub mod processes;
pub mod progress;
pub mod proxy;
pub mod python;
pub mod reconciler;
pub mod report;
pub mod running;
pub mod settled;
pub mod signals;
pub mod stack;
pub mod system;
pub mod tally;
pub mod template;
pub mod workspace;
