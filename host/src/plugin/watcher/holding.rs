//! What waits for an approval, and what is remembered of what is live.

use std::path::Path;
use std::sync::Arc;

use super::super::approvals::reason_to_hold;
use super::super::registry::{Registry, RouteClash};
use super::super::release::Release;
use super::super::status::{PluginState, Refusal};
use super::{Watcher, live_of};

/// A release that waits for an approval.
pub(super) struct Held {
    pub(super) release: Arc<Release>,
    /// What an operator reads who may approve it.
    pub(super) refusal: Refusal,
}

impl Held {
    /// One that clashes with another plugin could not be live, approved or not.
    pub(super) fn refusal(&self, registry: &Registry) -> Refusal {
        match registry.with(Arc::clone(&self.release)) {
            Ok(_) => self.refusal.clone(),
            Err(clash) => clashes(&self.release, &clash),
        }
    }
}

/// Why a release that clashes with another plugin is not live.
pub(super) fn clashes(release: &Release, clash: &RouteClash) -> Refusal {
    let manifest = release.manifest();
    Refusal {
        origin: release.origin().to_owned(),
        plugin: manifest.name.clone(),
        digest: Some(release.digest().to_owned()),
        manifest: Some(manifest.clone()),
        state: PluginState::Rejected,
        reason: clash.to_string(),
    }
}

impl Watcher {
    /// Remembers what is live, so that what comes after a start is compared with it.
    pub(super) fn keep_live(&self, folder: &Path) {
        let (Some(approvals), Some(live)) = (&self.approvals, live_of(&self.registry, folder))
        else {
            return;
        };
        let approvals = Arc::clone(approvals);
        tokio::spawn(async move {
            let manifest = live.manifest();
            let (name, digest) = (&manifest.name, &manifest.digest);
            if let Err(error) = approvals.keep_live(name, digest, &manifest.text).await {
                tracing::warn!(plugin.name = %name, %error, "what is live was not noted; after a start it may have to be approved");
            }
        });
    }

    /// Somebody may have approved what is held.
    pub(super) async fn retry_held(&mut self) {
        let Some(approvals) = self.approvals.clone() else { return };
        let mut live_now = Vec::new();
        for (folder, entry) in &mut self.entries {
            let Some(held) = &entry.held else { continue };
            let release = Arc::clone(&held.release);
            let live = live_of(&self.registry, folder);
            let live = live.as_ref().map(|live| live.manifest());
            if reason_to_hold(&*approvals, live, &release).await.is_none() {
                entry.held = None;
                let look = entry.settling.look().clone();
                entry.put(&self.registry, release, &look);
                entry.tell_refusal(&self.registry, folder);
                live_now.push(folder.clone());
                continue;
            }
            // The other plugin may have gone, or come.
            let refusal = held.refusal(&self.registry);
            if entry.refusal.as_ref() != Some(&refusal) {
                entry.refusal = Some(refusal);
                entry.tell_refusal(&self.registry, folder);
            }
        }
        for folder in live_now {
            self.keep_live(&folder);
        }
    }
}
