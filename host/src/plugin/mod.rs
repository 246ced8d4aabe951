//! The plugin host: manifests, releases, routes, and the sandboxed call. Knows no SQL.
//!
//! [`Manifest`] is the operator's word, [`Release`] a component that was checked and compiled,
//! [`Registry`] says which release handles which event, and [`Release::attempt`] makes one attempt
//! in a fresh instance. What host functions rest on stands behind the traits of `services`.

mod artifact;
mod bindings;
mod call;
mod census;
mod egress;
mod engine;
mod functions;
mod grants;
mod limits;
mod manifest;
mod receipt;
mod registry;
mod release;
mod services;
mod state;
mod targets;
#[cfg(test)]
pub(crate) mod tests;
mod toolchain;
mod turns;

pub use call::ValidateError;
pub use engine::{EngineError, SandboxEngine};
pub use grants::{Grants, HttpGrant, SecretGrant, TopicPattern, TransitionGrant};
pub use limits::Limits;
pub use manifest::{Manifest, ManifestError};
pub use registry::{FolderError, Registry, RouteClash, Routes};
pub use release::{Release, ReleaseError, ReleaseFacts};
pub use services::{
    CheckpointError, Checkpoints, Messaging, OutgoingMessage, PaymentTerms, PublishError,
    SecretSource, ServiceError, SignError, SignRequest, Signer, Work,
};
pub use state::Services;
pub use targets::TargetReports;
pub use toolchain::{ToolchainError, build_components};
