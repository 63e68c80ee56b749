//! The commands of `cargo local`, built on the library [`stack`].
//!
//! | module | does |
//! | --- | --- |
//! | [`cli`] | the command line |
//! | [`up`] | brings everything up and stays; [`instance`] allows only one at a time |
//! | [`demo`] | plays one emergency and shows what each stage did |
//! | [`drill`] | breaks something, and mends it as the runbook says |
//! | [`send`], [`events`] | posts payloads; prints what was published, which [`tap`] records |
//! | [`env`](mod@env), [`fill`] | points other tools at the running stack, which [`stack_file`] describes |
//! | [`page`] | starts the page of `aura-ops console` |
//! | [`rotate`] | gives AURA and ingest a new secret |
//! | [`relay`], `bridge` | lets containers, and nobody else, reach the stack |

mod bridge;
pub mod cli;
pub mod demo;
pub mod drill;
pub mod env;
pub mod events;
pub mod fill;
pub mod instance;
pub mod page;
pub mod relay;
pub mod rotate;
pub mod send;
pub mod stack_file;
pub mod tap;
pub mod up;
