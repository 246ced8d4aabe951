//! Which manifests the plugins of a folder may have.

use async_trait::async_trait;

use super::{ReleaseNote, StoreError};

/// What hosts with a folder of plugins, and operators, need to hold what asks for more.
#[async_trait]
pub trait ApprovalStore: Send + Sync {
    /// The manifests that a plugin may have, the one that was live last first.
    async fn approved_manifests(&self, plugin: &str) -> Result<Vec<ApprovedManifest>, StoreError>;

    /// Approves a manifest, by the SHA-256 of its text. False: it was approved, or live, before.
    async fn approve_manifest(
        &self,
        plugin: &str,
        digest: &str,
        note: ReleaseNote<'_>,
    ) -> Result<bool, StoreError>;

    /// Notes that a manifest is live. The [`MANIFESTS_MAX`] that were live last are kept.
    async fn keep_live_manifest(
        &self,
        plugin: &str,
        digest: &str,
        manifest: &str,
    ) -> Result<(), StoreError>;
}

/// Manifests that are kept of a plugin.
pub const MANIFESTS_MAX: u32 = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedManifest {
    /// SHA-256 of its text.
    pub digest: String,
    /// The text, once it was live.
    pub manifest: Option<String>,
}
