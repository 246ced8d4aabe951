//! A plugin's folder: `plugin.toml`, `component.wasm`, and what may lie beside them. Only reads.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::admission::Candidate;
use super::engine::SandboxEngine;
use super::registry::RouteClash;
use super::release::{Release, ReleaseError};
use super::routes::Routes;
use super::signature::SIGNATURE_FILE;

pub(super) const MANIFEST: &str = "plugin.toml";
pub(super) const COMPONENT: &str = "component.wasm";

/// More than any manifest or signature has.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// Why a folder of plugins cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{folder}: cannot be read: {cause}")]
    Unreadable { folder: String, cause: String },
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error(transparent)]
    Clash(#[from] RouteClash),
}

/// Reads a plugin's folder, which lies below `plugins`. Links are followed as long as they stay
/// below it: what is mounted as a ConfigMap is made of them.
///
/// # Errors
/// What cannot be read, is too large, or lies elsewhere.
pub fn read_candidate(plugins: &Path, folder: &Path) -> Result<Candidate, ReleaseError> {
    let read = |name: &str, bytes_max: u64| read_file(plugins, folder, name, bytes_max);
    let text = |name: &str| {
        let file = folder.join(name);
        let bytes = read(name, TEXT_BYTES_MAX)?;
        String::from_utf8(bytes)
            .map_err(|_| ReleaseError::Unreadable { file, cause: "it is no UTF-8".into() })
    };
    Ok(Candidate {
        manifest_text: text(MANIFEST)?,
        component: read(COMPONENT, Release::COMPONENT_BYTES_MAX as u64)?,
        signature: match folder.join(SIGNATURE_FILE).symlink_metadata() {
            Ok(_) => Some(text(SIGNATURE_FILE)?),
            Err(_) => None,
        },
        origin: folder.display().to_string(),
    })
}

fn read_file(
    plugins: &Path,
    folder: &Path,
    name: &str,
    bytes_max: u64,
) -> Result<Vec<u8>, ReleaseError> {
    let file = folder.join(name);
    let unreadable = |cause: String| ReleaseError::Unreadable { file: file.clone(), cause };
    let place = resolve(plugins, &file)?;
    // Looked at before it is opened: opening a pipe would wait for its other end.
    let facts = place.metadata().map_err(|error| unreadable(error.to_string()))?;
    if !facts.is_file() {
        return Err(unreadable("it is no file".into()));
    }
    let too_large = || ReleaseError::TooLarge { file: file.clone(), bytes_max };
    if facts.len() > bytes_max {
        return Err(too_large());
    }
    let opened = File::open(&place).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    // No more than allowed, whatever the file said of its size: it may grow.
    opened
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Where a file really lies.
fn resolve(plugins: &Path, file: &Path) -> Result<PathBuf, ReleaseError> {
    let canonical = |path: &Path| {
        path.canonicalize().map_err(|error| ReleaseError::Unreadable {
            file: path.to_owned(),
            cause: error.to_string(),
        })
    };
    let place = canonical(file)?;
    if place.starts_with(canonical(plugins)?) {
        Ok(place)
    } else {
        Err(ReleaseError::Outside { file: file.to_owned(), place })
    }
}

/// The folders below `plugins` that hold a plugin, in the order of their names. Those whose name
/// begins with a dot are not looked at: mounts and tools keep their own things there.
///
/// # Errors
/// The folder itself cannot be read.
pub(super) fn plugin_folders(plugins: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(plugins)? {
        let entry = entry?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // What may not be looked at may be there.
        let holds = |name: &&str| path.join(name).try_exists().unwrap_or(true);
        if !hidden && path.is_dir() && [MANIFEST, COMPONENT].iter().any(holds) {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

impl Routes {
    /// Loads every plugin below `plugins`, or none. Blocks for as long as a compiler needs.
    ///
    /// # Errors
    /// See [`FolderError`]; the first that is found.
    pub fn from_folder(
        engine: &SandboxEngine,
        plugins: &Path,
        cache: Option<&Path>,
    ) -> Result<Self, FolderError> {
        let folders = plugin_folders(plugins).map_err(|error| FolderError::Unreadable {
            folder: plugins.display().to_string(),
            cause: error.to_string(),
        })?;
        let mut releases = Vec::with_capacity(folders.len());
        for folder in folders {
            let candidate = read_candidate(plugins, &folder)?;
            let manifest = candidate.manifest().map_err(ReleaseError::from)?;
            releases.push(Arc::new(Release::of(engine, manifest, candidate, cache)?));
        }
        Ok(Self::new(releases)?)
    }
}
