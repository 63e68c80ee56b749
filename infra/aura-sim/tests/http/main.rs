//! Tests of the stand-in over real HTTP, as its users drive it.
#![expect(
    clippy::indexing_slicing,
    reason = "the lint skips test functions, but not their helpers; a panic fails the test"
)]

mod api;
mod day;
mod deliveries;
mod faults;
mod harness;
mod plan;
mod world;
