//! Fetching a release, and whether it could be live.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{ReleasesJob, origin};
use crate::plugin::{Candidate, Release, Routes};
use crate::store::{PluginRelease, StoreError};

impl ReleasesJob {
    /// Fetches, verifies and compiles a release, once. Answers whether it did.
    pub(super) async fn load(&self, release: &PluginRelease) -> Result<bool, StoreError> {
        if self.memory().loaded.contains_key(&release.name) {
            return Ok(false);
        }
        let loaded = match self.store.component(&release.digest).await? {
            Some(component) => self.admit(release, component).await,
            None => Err("its component is not in the store".to_owned()),
        };
        match &loaded {
            Ok(_) => {
                tracing::info!(job = Self::NAME, release = %release.name, digest = %release.digest, "prepared");
            }
            Err(reason) => {
                tracing::warn!(job = Self::NAME, release = %release.name, %reason, "rejected");
            }
        }
        self.memory().loaded.insert(release.name.clone(), loaded);
        Ok(true)
    }

    async fn admit(
        &self,
        release: &PluginRelease,
        component: Vec<u8>,
    ) -> Result<Arc<Release>, String> {
        if hexadecimal(&Sha256::digest(&component)) != release.digest {
            return Err("the stored component is another one than its digest says".to_owned());
        }
        let candidate = Candidate {
            manifest_text: release.manifest.clone(),
            component,
            signature: release.signature.clone(),
            origin: origin(&release.name.plugin),
        };
        let admitted = self.admission.admit(candidate).await.map_err(|error| error.to_string())?;
        let name = &admitted.manifest().name;
        if *name != release.name.plugin {
            return Err(format!("its manifest has the name {name}"));
        }
        Ok(admitted)
    }

    /// Whether a release could be live beside what is live now.
    pub(super) fn fits(&self, release: Arc<Release>) -> Result<Arc<Release>, String> {
        let current = self.registry.current();
        let name = &release.manifest().name;
        let others = current.releases().iter().filter(|other| other.manifest().name != *name);
        let mut releases: Vec<_> = others.map(Arc::clone).collect();
        releases.push(Arc::clone(&release));
        match Routes::new(releases) {
            Ok(_) => Ok(release),
            Err(clash) => Err(clash.to_string()),
        }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
