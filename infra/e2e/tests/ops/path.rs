//! Tests of the commands about the whole path: status, canary, register.
