//! Registrar: a CloudFormation custom resource that points AURA at the deployed endpoint.
//!
//! Registering replaces what was registered, so it comes last in a deployment, after all that a
//! delivery needs. [`handler`] sees to it that CloudFormation is answered on every path;
//! [`registration`] is what it answers about; [`answer`] is how.

pub mod answer;
pub mod config;
pub mod handler;
pub mod metrics;
pub mod registration;
