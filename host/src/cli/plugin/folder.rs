//! A plugin's folder, as commands read and write it.

use std::path::Path;

use super::super::error::CliError;
use crate::plugin::{Candidate, SIGNATURE_FILE, read_candidate};

/// # Errors
/// A file is missing, too large, no text where it must be one, or lies elsewhere.
pub(super) fn read_all(folder: &Path) -> Result<Candidate, CliError> {
    read_candidate(folder, folder).map_err(|error| {
        let remedy = "build the plugin, or name its folder";
        CliError::failed(error.to_string(), folder.display().to_string(), remedy)
    })
}

/// Writes a plugin's files, each under another name first and then renamed, the component last: a
/// host that watches the folder never sees a part of it.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn write_all(
    folder: &Path,
    manifest: Option<&str>,
    signature: Option<&str>,
    component: &[u8],
) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        let place = folder.display().to_string();
        CliError::failed(error.to_string(), place, "make the folder writable")
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let files = [
        ("plugin.toml", manifest.map(str::as_bytes)),
        (SIGNATURE_FILE, signature.map(str::as_bytes)),
        ("component.wasm", Some(component)),
    ];
    for (name, bytes) in files {
        let Some(bytes) = bytes else { continue };
        let partial = folder.join(format!(".{name}.partial-{}", std::process::id()));
        std::fs::write(&partial, bytes).map_err(failed)?;
        std::fs::rename(&partial, folder.join(name)).map_err(failed)?;
    }
    if signature.is_none() {
        // The signature of another component would make this one look changed.
        match std::fs::remove_file(folder.join(SIGNATURE_FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
