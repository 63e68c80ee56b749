//! Registrar: points AURA at the deployed endpoint, and rotates the secret that AURA sends.
//!
//! Registering replaces what was registered, at once and for all events, and nothing takes it
//! back. So nothing is registered that wasn't proven: [`registration`] has the steps and compares
//! AURA's answer with what it was asked for, [`canary`] has the proof. Three others ask for it:
//! CloudFormation, as a custom resource that comes last in a deployment ([`custom_resource`]),
//! Secrets Manager ([`rotation`]), and the reconciler, when AURA no longer delivers here
//! ([`reregistration`]); [`invocation`] tells them apart.

pub mod canary;
pub mod config;
pub mod custom_resource;
pub mod invocation;
pub mod journal;
pub mod metrics;
pub mod registration;
pub mod reregistration;
pub mod rotation;
pub mod secret;
pub mod stack;
