//! The commands of `cargo local`, over the library [`stack`].
//!
//! | module | does |
//! | --- | --- |
//! | [`cli`] | the command line |
//! | [`up`] | brings everything up and stays; [`instance`] sees that there is one at a time |
//! | [`demo`] | plays one emergency and shows what each stage did |
//! | [`send`], [`events`] | posts payloads, and prints what was published, which [`tap`] writes down |
//! | [`env`](mod@env), [`fill`] | points other tools at the running stack, which [`stack_file`] describes |
//! | [`rotate`] | gives AURA and ingest a new secret |
//! | [`relay`], `bridge` | opens the stack to containers, and to nobody else |

mod bridge;
pub mod cli;
pub mod demo;
pub mod env;
pub mod events;
pub mod fill;
pub mod instance;
pub mod relay;
pub mod rotate;
pub mod send;
pub mod stack_file;
pub mod tap;
pub mod up;
