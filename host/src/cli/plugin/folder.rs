//! A plugin's folder, as commands read and write it.

use std::io::Read;
use std::path::Path;

use super::super::error::CliError;
use crate::plugin::{Release, SIGNATURE_BYTES_MAX, SIGNATURE_FILE};

/// More text than this is no manifest.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// What a plugin's folder holds.
pub(super) struct PluginFiles {
    /// The text of `plugin.toml`.
    pub(super) manifest: String,
    pub(super) component: Vec<u8>,
    pub(super) signature: Option<String>,
}

impl PluginFiles {
    /// # Errors
    /// A file is missing, too large, or no text where it must be one.
    pub(super) fn read(folder: &Path) -> Result<Self, CliError> {
        let component = folder.join("component.wasm");
        let signature = folder.join(SIGNATURE_FILE);
        let signature = if signature.exists() {
            Some(text(read(&signature, SIGNATURE_BYTES_MAX as u64)?, &signature)?)
        } else {
            None
        };
        let manifest = folder.join("plugin.toml");
        Ok(Self {
            manifest: text(read(&manifest, MANIFEST_BYTES_MAX)?, &manifest)?,
            component: read(&component, Release::COMPONENT_BYTES_MAX)?,
            signature,
        })
    }
}

fn read(file: &Path, bytes_max: u64) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(bytes_max + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(&error, file, "build the plugin, or name its folder"))?;
    if bytes.len() as u64 > bytes_max {
        return Err(failed(&format!("more than {bytes_max} bytes"), file, "make it smaller"));
    }
    Ok(bytes)
}

fn text(bytes: Vec<u8>, file: &Path) -> Result<String, CliError> {
    String::from_utf8(bytes).map_err(|error| failed(&error, file, "write it in UTF-8"))
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
    let failed = |error: std::io::Error| failed(&error, folder, "make the folder writable");
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

fn failed(what: &dyn std::fmt::Display, file: &Path, remedy: &str) -> CliError {
    CliError::failed(what.to_string(), file.display().to_string(), remedy)
}
