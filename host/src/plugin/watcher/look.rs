//! What is seen of a plugin's folder without reading its files: enough to know that it changed.

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::super::folder::{COMPONENT, MANIFEST};
use super::super::signature::SIGNATURE_FILE;

/// More files than any plugin has; of what is beyond, changes are not seen.
const FILES_MAX: usize = 256;

/// One look at a folder. Two that are equal mean that nothing changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    files: Vec<Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    name: OsString,
    /// Where it really lies, for the files of a plugin: a link may lead elsewhere from one moment
    /// to the next.
    place: Option<PathBuf>,
    len: u64,
    modified: Option<SystemTime>,
    /// Inode, and when it last changed: a copy may keep size and time of what it replaces.
    identity: (u64, i64, i64),
}

impl Look {
    /// None if nothing of a plugin is there.
    pub(super) fn at(folder: &Path) -> std::io::Result<Option<Self>> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if is_absence(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries.take(FILES_MAX) {
            let name = entry?.file_name();
            let path = folder.join(&name);
            let ours = [MANIFEST, COMPONENT, SIGNATURE_FILE].iter().any(|it| *it == name);
            // Others are looked at too: a copy under another name is the beginning of a change.
            let facts = if ours { path.metadata() } else { path.symlink_metadata() };
            match facts {
                Ok(facts) => {
                    let place = if ours { path.canonicalize().ok() } else { None };
                    files.push(Seen::of(name, place, &facts));
                }
                // Gone again, or a link that leads nowhere.
                Err(error) if is_absence(&error) => {}
                Err(error) => return Err(error),
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let look = Self { files };
        Ok(look.missing().len().lt(&2).then_some(look))
    }

    /// Of manifest and component, what is not there.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let there = |name: &str| self.files.iter().any(|seen| seen.name == name);
        [MANIFEST, COMPONENT].into_iter().filter(|name| !there(name)).collect()
    }

    /// Whether a file of the plugin was written on in place since an earlier look.
    pub(super) fn continues(&self, earlier: &Self) -> bool {
        self.ours().any(|seen| {
            earlier.ours().any(|before| {
                before.name == seen.name && before.identity.0 == seen.identity.0 && before != seen
            })
        })
    }

    /// Whether this path is one of the plugin's files, or of those that are about to become one.
    pub(super) fn concerns(&self, folder: &Path, path: &Path) -> bool {
        if self.ours().any(|seen| seen.place.as_deref() == Some(path)) {
            return true;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let editors_own = [".swp", ".swx", "~"].iter().any(|end| name.ends_with(end));
        path.parent() == Some(folder)
            && !editors_own
            && [MANIFEST, COMPONENT].iter().any(|it| name.contains(it))
    }

    /// How long ago the youngest of the plugin's files was written.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        let ages = self.ours().filter_map(|seen| now.duration_since(seen.modified?).ok());
        ages.min().unwrap_or_default()
    }

    fn ours(&self) -> impl Iterator<Item = &Seen> {
        self.files.iter().filter(|seen| seen.place.is_some())
    }
}

impl Seen {
    fn of(name: OsString, place: Option<PathBuf>, facts: &Metadata) -> Self {
        Self {
            name,
            place,
            len: facts.len(),
            modified: facts.modified().ok(),
            identity: identity(facts),
        }
    }
}

#[cfg(unix)]
fn identity(facts: &Metadata) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (facts.ino(), facts.ctime(), facts.ctime_nsec())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> (u64, i64, i64) {
    (0, 0, 0)
}

/// A part of the path is not there, or is no folder.
fn is_absence(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}
