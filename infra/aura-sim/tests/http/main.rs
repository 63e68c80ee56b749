//! The stand-in over real HTTP, the way its users drive it.
#![expect(
    clippy::indexing_slicing,
    reason = "the lint spares test functions, but not what they share; a panic fails the test"
)]

mod api;
mod day;
mod deliveries;
mod faults;
mod harness;
mod plan;
mod world;
