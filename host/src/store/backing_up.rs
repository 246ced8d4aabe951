//! A copy of a store that may be in use.

use std::path::{Path, PathBuf};

use super::open::{OpenError, StoreUrl};
use super::sqlite;

/// How large the copy is by now, and how large the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupProgress {
    pub bytes: u64,
    pub of_bytes: u64,
}

/// Why there is no copy. Nothing is left of it then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackupError {
    #[error("{} is there already, and is left as it is", path.display())]
    Exists { path: PathBuf },
    /// Postgres has tools of its own.
    #[error("Postgres makes its own backups")]
    Postgres,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the copy cannot be written: {cause}")]
    Write { cause: String },
    #[error("the copy is not whole: {cause}")]
    NotWhole { cause: String },
}

/// Copies a SQLite store into a new file, as it was at one moment, while a host goes on; answers
/// the copy's size in bytes. It stands under its name only once it is whole, checked and on disk.
///
/// # Errors
/// See [`BackupError`].
pub async fn backup(
    url: &StoreUrl,
    to: &Path,
    progress: &mut (dyn FnMut(BackupProgress) + Send),
) -> Result<u64, BackupError> {
    match url {
        StoreUrl::Sqlite(path) => sqlite::back_up(path, to, progress).await,
        StoreUrl::Postgres(_) => Err(BackupError::Postgres),
    }
}
