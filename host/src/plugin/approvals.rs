//! Whether a plugin of a folder may become live: not if its manifest asks for more than the one
//! before, until an operator approves it.

use std::path::Path;

use async_trait::async_trait;

use super::difference::differences;
use super::manifest::Manifest;
use super::release::Release;
use super::services::ServiceError;

/// A manifest that a plugin may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownManifest {
    /// SHA-256 of its text.
    pub digest: String,
    /// Its text, once it was live.
    pub text: Option<String>,
}

/// What operators approved, and what was live, kept over restarts.
#[async_trait]
pub trait Approvals: Send + Sync {
    /// The one that was live last comes first.
    async fn manifests(&self, plugin: &str) -> Result<Vec<KnownManifest>, ServiceError>;

    /// A manifest is live now.
    async fn keep_live(&self, plugin: &str, digest: &str, text: &str) -> Result<(), ServiceError>;
}

/// Why a manifest must be approved first; none if it need not. What was never live before is taken
/// as it is: somebody has just installed it.
pub(super) async fn reason_to_hold(
    approvals: &dyn Approvals,
    live: Option<&Manifest>,
    release: &Release,
) -> Option<String> {
    let new = release.manifest();
    let known = match approvals.manifests(&new.name).await {
        Ok(known) => known,
        Err(error) => return Some(format!("whether it was approved is not known: {error}")),
    };
    if known.iter().any(|known| known.digest == new.digest) {
        return None;
    }
    let last;
    let before = match live {
        Some(live) => live,
        None => {
            let text = known.first()?.text.as_deref()?;
            let file = Path::new(release.origin()).join("plugin.toml");
            match Manifest::parse(text, &file) {
                Ok(manifest) => last = manifest,
                Err(error) => {
                    return Some(format!("what was live before cannot be compared: {error}"));
                }
            }
            &last
        }
    };
    let found = differences(Some(before), new);
    let more: Vec<_> = found.into_iter().filter(|it| it.widens).map(|it| it.text).collect();
    (!more.is_empty()).then(|| more.join("; "))
}
