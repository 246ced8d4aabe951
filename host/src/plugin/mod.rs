//! The plugin host: manifests, releases, routes, and the sandboxed call. Knows no SQL.
//!
//! [`Manifest`] is the operator's word, [`Release`] a component that was checked and compiled,
//! [`Registry`] says which release handles which event, and [`Release::attempt`] makes one attempt
//! in a fresh instance. What host functions rest on stands behind the traits of `services`.

mod artifact;
mod bindings;
mod call;
mod egress;
mod engine;
mod functions;
mod grants;
mod limits;
mod manifest;
mod receipt;
mod registry;
mod release;
mod secrecy;
mod services;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod toolchain;

pub use call::ValidateError;
pub use egress::{AuditFile, AuditLog, Outbound, Resolver, SystemResolver};
pub use engine::{EngineError, SandboxEngine};
pub use grants::{
    ClientIdentity, GrantError, Grants, HttpGrant, Origin, PemSource, SecretGrant, TopicPattern,
    TransitionGrant, Wanted,
};
pub use limits::Limits;
pub use manifest::{Manifest, ManifestError};
pub use registry::{FolderError, Registry, RouteClash, Routes};
pub use release::{Release, ReleaseError, ReleaseFacts};
pub use services::{
    CheckpointError, Checkpoints, Messaging, OutgoingMessage, PaymentTerms, PublishError,
    SecretSource, ServiceError, SignError, SignRequest, Signer, Work,
};
pub use state::Services;
pub use toolchain::{ToolchainError, build_components};
