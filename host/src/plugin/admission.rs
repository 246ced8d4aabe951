//! The way of a candidate to a release: parsed, checked, compiled, linked and instantiated once,
//! before any event sees it. Folder and store take the same way.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::engine::SandboxEngine;
use super::manifest::{Manifest, ManifestError};
use super::release::{Release, ReleaseError};
use super::signature::TrustedKeys;

/// Where a release's bytes come from: read whole beforehand, and once, so that what is checked is
/// what is loaded.
#[derive(Debug, Clone)]
pub struct Candidate {
    pub manifest_text: String,
    pub component: Vec<u8>,
    /// The text of the signature that came with the component.
    pub signature: Option<String>,
    /// Where it comes from, such as its folder. One origin has one live release at a time.
    pub origin: String,
}

impl Candidate {
    /// # Errors
    /// See [`ManifestError`].
    pub fn manifest(&self) -> Result<Manifest, ManifestError> {
        Manifest::parse(&self.manifest_text, &Path::new(&self.origin).join("plugin.toml"))
    }
}

/// Makes releases of candidates, off the path of events.
pub struct Admission {
    engine: SandboxEngine,
    cache: Option<PathBuf>,
    /// One compiler at a time: two would take the cores from events and be done no sooner.
    compilers: Semaphore,
    /// If set, one of these keys must have signed the component.
    trusted: Option<TrustedKeys>,
}

impl Admission {
    /// `cache` is where compiled components are kept; without it each is compiled anew.
    #[must_use]
    pub fn new(engine: SandboxEngine, cache: Option<PathBuf>) -> Self {
        Self { engine, cache, compilers: Semaphore::new(1), trusted: None }
    }

    /// From now on, only what one of these keys signed is admitted.
    #[must_use]
    pub fn requiring_signature(self, trusted: Option<TrustedKeys>) -> Self {
        Self { trusted, ..self }
    }

    /// A release that may become live.
    ///
    /// # Errors
    /// See [`ReleaseError`].
    pub async fn admit(&self, candidate: Candidate) -> Result<Arc<Release>, ReleaseError> {
        let manifest = candidate.manifest()?;
        let plugin = manifest.name.clone();
        self.check_signature(&candidate, &plugin)?;
        let release = {
            // Never closed, so there is always a turn.
            let _turn = self.compilers.acquire().await;
            let (engine, cache) = (self.engine.clone(), self.cache.clone());
            let build = move || Release::of(&engine, manifest, candidate, cache.as_deref());
            tokio::task::spawn_blocking(build).await.map_err(|error| ReleaseError::Invalid {
                plugin,
                cause: format!("the compiler failed: {error}"),
            })??
        };
        release.rehearse(&self.engine).await?;
        Ok(Arc::new(release))
    }

    /// Before a compiler sees the component: a stranger's bytes are not worth its time.
    fn check_signature(&self, candidate: &Candidate, plugin: &str) -> Result<(), ReleaseError> {
        let Some(trusted) = &self.trusted else { return Ok(()) };
        let key_id = trusted
            .check(&candidate.component, candidate.signature.as_deref())
            .map_err(|cause| ReleaseError::Signature { plugin: plugin.to_owned(), cause })?;
        tracing::info!(plugin.name = plugin, key_id, "the component's signature holds");
        Ok(())
    }
}
