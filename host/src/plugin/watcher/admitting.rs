//! From a folder that has settled to a release, or to the reason why there is none.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::admission::{Admission, Candidate};
use super::super::approvals::{Approvals, reason_to_hold};
use super::super::folder::read_candidate;
use super::super::release::{Release, ReleaseError, hexadecimal};
use super::super::status::{PluginState, Refusal};
use super::look::Look;

/// What became of reading a folder.
pub(super) enum CameTo {
    Admitted(Arc<Release>),
    /// It is whole, and asks for more than what was live: an operator must approve it.
    Held(Arc<Release>, Box<Refusal>),
    /// It is what is live.
    Same,
    /// It changed while it was read.
    Unsettled,
    Refused(Box<Refusal>),
}

pub(super) fn origin(folder: &Path) -> String {
    folder.display().to_string()
}

pub(super) fn incomplete(folder: &Path, missing: &str) -> Refusal {
    Refusal {
        origin: origin(folder),
        plugin: folder_name(folder),
        digest: None,
        manifest: None,
        state: PluginState::Rejected,
        reason: format!("{}: {missing} is missing", folder.display()),
    }
}

fn folder_name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads a folder, unless it changes meanwhile, and makes a release of it.
pub(super) async fn admit(
    admission: &Admission,
    plugins: &Path,
    folder: &Path,
    look: &Look,
    live: Option<Arc<Release>>,
    approvals: Option<&dyn Approvals>,
) -> CameTo {
    let (plugins, at, seen) = (plugins.to_owned(), folder.to_owned(), look.clone());
    let read = tokio::task::spawn_blocking(move || {
        let candidate = read_candidate(&plugins, &at);
        let after = Look::at(&at).ok().flatten();
        (after.as_ref() == Some(&seen)).then(|| candidate.map(digested))
    });
    let (candidate, digest) = match read.await {
        Ok(Some(Ok(read))) => read,
        Ok(None) => return CameTo::Unsettled,
        Ok(Some(Err(error))) => return CameTo::Refused(Box::new(refusal(folder, None, &error))),
        Err(error) => {
            let cause = format!("it could not be read: {error}");
            let error = ReleaseError::Unreadable { file: folder.to_owned(), cause };
            return CameTo::Refused(Box::new(refusal(folder, None, &error)));
        }
    };
    let manifest = candidate.manifest().ok();
    let is_live = |live: &Arc<Release>| {
        let same = manifest.as_ref().is_some_and(|it| it.digest == live.manifest().digest);
        same && live.digest() == digest
    };
    if live.as_ref().is_some_and(is_live) {
        return CameTo::Same;
    }
    match admission.admit(candidate).await {
        Ok(release) => held(release, live.as_deref(), approvals).await,
        Err(error) => {
            let mut refusal = refusal(folder, Some(digest), &error);
            if let Some(manifest) = manifest {
                refusal.plugin.clone_from(&manifest.name);
                refusal.manifest = Some(manifest);
            }
            CameTo::Refused(Box::new(refusal))
        }
    }
}

async fn held(
    release: Arc<Release>,
    live: Option<&Release>,
    approvals: Option<&dyn Approvals>,
) -> CameTo {
    let Some(approvals) = approvals else { return CameTo::Admitted(release) };
    let (manifest, live) = (release.manifest(), live.map(Release::manifest));
    match reason_to_hold(approvals, live, &release).await {
        None => CameTo::Admitted(release),
        Some(more) => {
            let refusal = Refusal {
                origin: release.origin().to_owned(),
                plugin: manifest.name.clone(),
                digest: Some(release.digest().to_owned()),
                manifest: Some(manifest.clone()),
                state: PluginState::Held,
                reason: format!(
                    "{more}; to allow it: tidegate plugin approve {} --reason …",
                    manifest.name
                ),
            };
            CameTo::Held(release, Box::new(refusal))
        }
    }
}

fn digested(candidate: Candidate) -> (Candidate, String) {
    let digest = hexadecimal(&Sha256::digest(&candidate.component));
    (candidate, digest)
}

fn refusal(folder: &Path, digest: Option<String>, error: &ReleaseError) -> Refusal {
    Refusal {
        origin: origin(folder),
        plugin: folder_name(folder),
        digest,
        manifest: None,
        state: PluginState::Rejected,
        reason: error.to_string(),
    }
}
