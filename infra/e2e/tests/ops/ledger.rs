//! Tests of the commands that read the ledger: timeline, delivery, audit.
