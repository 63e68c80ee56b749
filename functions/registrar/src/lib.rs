//! Registrar: points AURA at the deployed endpoint, and rotates the secret that AURA sends.
//!
//! Registering replaces what was registered, at once and for all events, and nothing takes it
//! back. So nothing is registered that wasn't proven: [`registrar`] has the steps, [`canary`] the
//! proof, [`confirmation`] the look at AURA's answer. Three others call it: CloudFormation, as a
//! custom resource that comes last in a deployment ([`custom_resource`]), Secrets Manager
//! ([`rotation`]), and the reconciler, when AURA no longer delivers here ([`reregistration`]);
//! [`invocation`] tells them apart.

pub mod answer;
pub mod canary;
pub mod config;
pub mod confirmation;
pub mod custom_resource;
pub mod endpoint;
pub mod guard;
pub mod invocation;
pub mod journal;
pub mod known;
pub mod metrics;
pub mod registrar;
pub mod reregistration;
pub mod rotation;
pub mod stack;
pub mod values;
