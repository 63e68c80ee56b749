//! Tests of the commands that look into queues and act on them: quarantine, dead letters, spill.
