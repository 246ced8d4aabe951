//! What lies where the store should be, looked at before SQLite does: it makes a new database of a
//! file that is missing or empty, and drops a log whose database is gone.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::store::open::OpenError;

/// For so long an empty file may be one that another process is just making.
const MADE_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// A file of so many bytes.
    File(u64),
}

/// Refuses what SQLite would silently replace.
pub(super) async fn look(path: &Path) -> Result<Found, OpenError> {
    let began = Instant::now();
    loop {
        match std::fs::metadata(path) {
            Ok(file) if file.len() > 0 => return Ok(Found::File(file.len())),
            Ok(_) if began.elapsed() < MADE_WITHIN => tokio::time::sleep(LOOK_EVERY).await,
            Ok(_) => return Err(OpenError::Damaged { cause: "it is empty".to_owned() }),
            // SQLite says better than we what is wrong with the path.
            Err(_) => return nothing_left_of(path),
        }
    }
}

/// A write-ahead log or a rollback journal holds what was committed last.
fn nothing_left_of(path: &Path) -> Result<Found, OpenError> {
    for suffix in ["-wal", "-journal"] {
        let mut left = path.as_os_str().to_owned();
        left.push(suffix);
        let left = PathBuf::from(left);
        if std::fs::metadata(&left).is_ok_and(|file| file.len() > 0) {
            return Err(OpenError::LeftBehind { left });
        }
    }
    Ok(Found::Nothing)
}

/// Which file a path named. SQLite writes on into one that was removed, for nobody.
#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    device_and_inode: Option<(u64, u64)>,
}

impl Identity {
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), device_and_inode: device_and_inode(path) }
    }

    /// Whether the path still names it.
    pub(super) fn is_there(&self) -> bool {
        self.device_and_inode.is_some() && self.device_and_inode == device_and_inode(&self.path)
    }
}

fn device_and_inode(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
