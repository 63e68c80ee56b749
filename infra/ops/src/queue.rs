//! Looks into a queue without disturbing it.
