//! What an operator of the stack needs: looks into its queues and its ledger, acts on what waits there, and
//! shows both on a page.
//!
//! Each command has a module. It reads the stack into a view, a plain value: text for people by
//! [`Display`](std::fmt::Display), JSON for programs by [`Serialize`](serde::Serialize), and the page draws it.
//!
//! | module | does |
//! | --- | --- |
//! | [`cli`] | the command line |
//! | [`stack`] | finds the stack, and has the clients |
//! | [`status`], [`timeline`], [`delivery`], [`spill`] | look, and change nothing |
//! | [`quarantine`], [`dead_letters`] | look into a queue by [`queue`], and put back or delete what is in it |
//! | [`replay`] | sends published events to one consumer again |
//! | [`canary`], [`register`] | have the [`registrar`] work |
//! | [`consent`], [`audit`] | ask before a change, and note it |
//! | [`console`] | the page |

pub mod audit;
pub mod canary;
pub mod cli;
pub mod consent;
pub mod console;
pub mod dead_letters;
pub mod delivery;
pub mod logs;
pub mod quarantine;
pub mod queue;
pub mod register;
pub mod registrar;
pub mod replay;
pub mod spill;
pub mod stack;
pub mod status;
pub mod timeline;
pub mod words;
