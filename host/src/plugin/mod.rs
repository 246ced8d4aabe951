//! The plugin host: manifests, releases, routes, and the sandboxed call. Knows no SQL.
//!
//! [`Manifest`] is the operator's word, [`Admission`] makes a [`Release`] of a [`Candidate`],
//! [`Registry`] says which release handles which event, and [`Release::attempt`] makes one attempt
//! in a fresh instance. What host functions rest on stands behind the traits of `services`.

mod aborted;
mod admission;
mod approvals;
mod artifact;
mod bindings;
mod breaches;
mod cache;
mod call;
mod canary;
mod census;
mod contract;
mod difference;
mod egress;
mod engine;
mod folder;
mod functions;
mod grants;
mod limits;
mod manifest;
mod notices;
mod own_time;
mod receipt;
mod registry;
mod release;
mod routes;
mod secrecy;
mod services;
mod shadow;
mod signature;
mod slots;
mod state;
mod status;
mod targets;
#[cfg(test)]
pub(crate) mod tests;
mod toolchain;
mod turns;
mod watcher;
mod way;
mod words;

pub use admission::{Admission, Candidate};
pub use approvals::{Approvals, KnownManifest};
pub use call::ValidateError;
pub use canary::{Canaries, Canary, CanarySet};
pub use difference::{Difference, differences};
pub use egress::{AuditFile, AuditLog, Outbound, Resolver, SystemResolver};
pub use engine::{EngineError, SandboxEngine};
pub use folder::{FolderError, read_candidate};
pub use grants::{
    ClientIdentity, GrantError, Grants, HttpGrant, Origin, PemSource, SecretGrant, TopicPattern,
    TransitionGrant, Wanted,
};
pub use limits::Limits;
pub use manifest::{Manifest, ManifestError};
#[cfg(fuzzing)]
pub(crate) use receipt::check_json;
pub use registry::{Registry, RouteClash};
pub use release::{Interfaces, Release, ReleaseError, ReleaseFacts};
pub use routes::Routes;
pub use services::{
    CheckpointError, Checkpoints, Messaging, OutgoingMessage, PaymentTerms, PublishError,
    SecretSource, ServiceError, SignError, SignRequest, Signer, Work,
};
pub use shadow::{Busy, Copied, Recorder, Shadow, ShadowCopy, Shadows};
pub use signature::{KeyError, SIGNATURE_FILE, SignatureError, TrustedKeys};
pub use slots::{Slot, Slots};
pub use state::Services;
pub use status::{PluginState, PluginStatus, Refusal};
pub use targets::{ShutTarget, TargetGate, TargetPass, TargetReports, Targets, TargetsSeen};
pub use toolchain::{ToolchainError, build_components};
pub use watcher::Watcher;
