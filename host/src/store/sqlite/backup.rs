//! A copy of the file while it is in use: one read transaction, so one moment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::store::backing_up::{BackupError, BackupProgress};
use crate::store::open::OpenError;

const PROGRESS_EVERY: Duration = Duration::from_millis(500);

pub(in crate::store) async fn back_up(
    path: &Path,
    to: &Path,
    progress: &mut (dyn FnMut(BackupProgress) + Send),
) -> Result<u64, BackupError> {
    // Before the long work; what decides is that the name is given only if nobody has it.
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { path: to.to_owned() });
    }
    let partial = Partial(partial_name(to));
    copy(path, &partial.0, progress).await?;
    check(&partial.0).await?;
    let named = (partial.0.clone(), to.to_owned());
    let bytes = tokio::task::spawn_blocking(move || name(&named.0, &named.1))
        .await
        .map_err(|error| BackupError::Write { cause: error.to_string() })??;
    Ok(bytes)
}

/// A file that is removed however the work on it ends.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Usually it has got its name, and is gone.
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Beside the copy, so on the same disk; with the process's number, so nobody else's.
fn partial_name(to: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(to.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    to.with_file_name(name)
}

async fn copy(
    path: &Path,
    to: &Path,
    progress: &mut (dyn FnMut(BackupProgress) + Send),
) -> Result<(), BackupError> {
    let open = |error: sqlx::Error| BackupError::Open(OpenError::from_sqlx(&error));
    let target = to.to_str().ok_or_else(|| BackupError::Write {
        cause: "SQLite takes only paths that are UTF-8".to_owned(),
    })?;
    let mut connection = super::connect_to_read(path).await?;
    let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
    let size: i64 = sqlx::query_scalar(size).fetch_one(&mut connection).await.map_err(open)?;
    let of_bytes = u64::try_from(size).unwrap_or_default();
    {
        let copying = sqlx::query("VACUUM INTO ?").bind(target).execute(&mut connection);
        tokio::pin!(copying);
        loop {
            tokio::select! {
                copied = &mut copying => {
                    copied.map_err(|error| BackupError::Write { cause: error.to_string() })?;
                    break;
                }
                () = tokio::time::sleep(PROGRESS_EVERY) => {
                    let bytes = std::fs::metadata(to).map_or(0, |file| file.len());
                    progress(BackupProgress { bytes, of_bytes });
                }
            }
        }
    }
    // It was only read.
    let _closed = connection.close().await;
    Ok(())
}

/// Reads the whole copy.
async fn check(copy: &Path) -> Result<(), BackupError> {
    let unreadable = |error: sqlx::Error| BackupError::NotWhole { cause: error.to_string() };
    let mut connection = SqliteConnectOptions::new()
        .filename(copy)
        .read_only(true)
        .connect()
        .await
        .map_err(unreadable)?;
    let verdict: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut connection)
        .await
        .map_err(unreadable)?;
    let _closed = connection.close().await;
    if verdict == "ok" { Ok(()) } else { Err(BackupError::NotWhole { cause: verdict }) }
}

/// Gives the copy its name, once it is on disk, and never another file's.
fn name(partial: &Path, to: &Path) -> Result<u64, BackupError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists { path: to.to_owned() },
        _ => BackupError::Write { cause: error.to_string() },
    };
    let file = std::fs::File::open(partial).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::hard_link(partial, to).map_err(failed)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = std::fs::File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
    folder.sync_all().map_err(failed)?;
    Ok(file.metadata().map_err(failed)?.len())
}
