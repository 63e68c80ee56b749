//! End-to-end tests of the promises, and tests of the adapters against their services.
//!
//! They are one binary, so that one MiniStack serves all tests; each test has an account of its
//! own. Each stack that a test leaves makes the local AWS slower, and tests run in the order of their
//! names: those of [`tool`], which have many stacks, come late.

mod adapters;
mod address;
mod alarms;
mod answers;
mod bus;
mod campaigns;
mod canary;
mod consumer;
mod costs;
mod dashboard;
mod deployment;
mod drills;
mod duplicates;
mod faults;
mod forward;
mod ingest_faults;
mod journey;
mod ledger;
mod needed_permissions;
mod permissions;
mod processing;
mod proxy;
mod reconciler;
mod registrar_here;
mod registration;
mod registration_faults;
mod requests;
mod reregistration;
mod rotation;
mod rotation_steps;
mod secrecy;
mod standby;
mod surroundings;
mod tool;
mod trails;
