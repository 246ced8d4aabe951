//! The folder of compiled components. What lies there is run as the host's own code, so it is used
//! only while nobody but this host's user can write it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// More than any host has plugins and their last releases; those used longest ago go first.
const ENTRIES_MAX: usize = 128;
/// What a start that was killed left half-written.
const PARTIAL_AGE: Duration = Duration::from_secs(3_600);

const ENTRY: &str = "cwasm";

/// A folder that may be trusted.
pub(super) struct Cache<'a>(&'a Path);

impl<'a> Cache<'a> {
    /// Makes the folder, if it is not there.
    ///
    /// # Errors
    /// Why it may not be used.
    pub(super) fn open(folder: &'a Path) -> Result<Self, String> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        only_for_us(&mut builder);
        builder.create(folder).map_err(|error| error.to_string())?;
        check_owner(folder)?;
        Ok(Self(folder))
    }

    pub(super) fn entry(&self, name: &str) -> PathBuf {
        self.0.join(name).with_extension(ENTRY)
    }

    /// What an entry holds, if it is there and nobody else can have written it.
    pub(super) fn read(entry: &Path) -> Option<Vec<u8>> {
        // A link could lead to what others write.
        if !entry.symlink_metadata().ok()?.is_file() {
            return None;
        }
        if let Err(why) = check_writers(entry) {
            tracing::warn!(path = %entry.display(), "an entry of the cache is not used: {why}");
            return None;
        }
        let bytes = std::fs::read(entry).ok()?;
        // So that what is used stays. Failing that, it is compiled anew some day.
        let _ = File::open(entry).and_then(|file| file.set_modified(SystemTime::now()));
        Some(bytes)
    }

    /// Renamed into place, so that no other start reads half an artifact.
    pub(super) fn write(entry: &Path, parts: &[&[u8]]) -> std::io::Result<()> {
        let partial = entry.with_extension(format!("partial-{:016x}", fastrand::u64(..)));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        only_our_file(&mut options);
        let mut file = options.open(&partial)?;
        for part in parts {
            file.write_all(part)?;
        }
        std::fs::rename(&partial, entry)
    }

    /// Removes what was used longest ago, beyond the bound.
    pub(super) fn prune(&self) {
        let Ok(entries) = std::fs::read_dir(self.0) else { return };
        let now = SystemTime::now();
        let mut kept = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(used_at) = entry.metadata().and_then(|facts| facts.modified()) else { continue };
            let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
            if extension == ENTRY {
                kept.push((used_at, path));
            } else if extension.starts_with("partial-")
                && now.duration_since(used_at).is_ok_and(|age| age > PARTIAL_AGE)
            {
                let _ = std::fs::remove_file(path);
            }
        }
        kept.sort();
        let surplus = kept.len().saturating_sub(ENTRIES_MAX);
        for (_, path) in kept.drain(..surplus) {
            // Another host may have been quicker.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(unix)]
fn only_for_us(builder: &mut DirBuilder) {
    use std::os::unix::fs::DirBuilderExt;
    builder.mode(0o700);
}

#[cfg(unix)]
fn only_our_file(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600);
}

/// Whether the folder is this user's: what we make there has the same owner.
#[cfg(unix)]
fn check_owner(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    check_writers(folder)?;
    let probe = folder.join(format!("probe-{:016x}", fastrand::u64(..)));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    only_our_file(&mut options);
    let made = options.open(&probe).and_then(|file| file.metadata());
    let _ = std::fs::remove_file(&probe);
    let us = made.map_err(|error| error.to_string())?.uid();
    let owner = folder.metadata().map_err(|error| error.to_string())?.uid();
    if owner == us {
        Ok(())
    } else {
        Err(format!("it belongs to user {owner}, and this host is user {us}"))
    }
}

#[cfg(unix)]
fn check_writers(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let mode = path.metadata().map_err(|error| error.to_string())?.mode();
    if mode & 0o022 == 0 {
        Ok(())
    } else {
        Err(format!(
            "others may write it (mode {:03o}): take that away with chmod go-w",
            mode & 0o777
        ))
    }
}

#[cfg(not(unix))]
fn only_for_us(_: &mut DirBuilder) {}

#[cfg(not(unix))]
fn only_our_file(_: &mut OpenOptions) {}

#[cfg(not(unix))]
fn check_owner(_: &Path) -> Result<(), String> {
    Ok(())
}

#[cfg(not(unix))]
fn check_writers(_: &Path) -> Result<(), String> {
    Ok(())
}
