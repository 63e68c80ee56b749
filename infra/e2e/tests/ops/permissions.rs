//! Tests of the operators' two policies: each permission is needed, and enough.
