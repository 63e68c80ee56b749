//! Registrar: points AURA at the deployed endpoint, and rotates the secret that AURA sends.
//!
//! A registration replaces the one before, at once and for all events, and AURA has no call to undo
//! it. So the registrar proves an endpoint before it registers it: [`registration`] has the steps
//! and compares AURA's answer with the request; [`canary`] has the proof.
//!
//! The function has five callers, and [`invocation`] tells them apart:
//!
//! - CloudFormation, through a custom resource that comes last in a deployment
//!   ([`custom_resource`]);
//! - Secrets Manager ([`rotation`]);
//! - the reconciler, when AURA no longer delivers here ([`reregistration`]);
//! - a schedule, which tests the path with a canary between deployments
//!   ([`test_path`](registration::Registrar::test_path));
//! - an operator, who asks for a reregistration or a canary with `aura-ops`.

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
