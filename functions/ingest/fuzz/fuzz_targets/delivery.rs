//! Checks any event that the fuzzer makes: `ingest` keeps its promises, and the size of the request
//! bounds the handler's memory.

#![no_main]

use std::alloc::System;
use std::sync::LazyLock;

use cap::Cap;
use ingest::promises::{Harness, SentRequest};
use libfuzzer_sys::fuzz_target;

/// Counts what Rust code allocates. It does not count libFuzzer's own memory.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// The bytes that the handler may allocate for any request: metrics, headers, the answer.
const BYTES_PER_REQUEST: usize = 8 * 1024;

/// The bytes that the handler may allocate for each byte of the request. A body of empty objects
/// needs the most. Each of them could be the entity, so 6 bytes become an item of 40 bytes, in a
/// list with room for as many again.
const BYTES_PER_BYTE: usize = 24;

static HARNESS: LazyLock<Harness> = LazyLock::new(Harness::default);

fuzz_target!(|input: &[u8]| {
    let harness = &*HARNESS;
    if input.starts_with(b"{") {
        harness.check_any(input);
        return;
    }
    let sent = SentRequest::from_input(input);
    let event = sent.event();
    let limit = BYTES_PER_REQUEST + BYTES_PER_BYTE * input.len().max(sent.body.len());
    MEMORY
        .set_limit(MEMORY.allocated() + limit)
        .expect("a limit");
    let outcome = harness.handle(event, sent.store);
    MEMORY.set_limit(usize::MAX).expect("a limit");
    let _ = outcome.check(&sent);
});
