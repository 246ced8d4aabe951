//! The plugin host: manifests, releases, routes, and the sandboxed call. Knows no SQL.

mod bindings;
mod engine;
mod grants;
mod limits;
mod manifest;
mod services;

pub use engine::{EngineError, SandboxEngine};
pub use grants::{Grants, HttpGrant};
pub use limits::Limits;
pub use manifest::{Manifest, ManifestError};
pub use services::{
    Checkpoints, Messaging, OutgoingMessage, PaymentTerms, PublishError, SecretSource,
    ServiceError, SignError, SignRequest, Signer, Work,
};
