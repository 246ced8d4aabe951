//! The write-ahead log must not grow for ever. SQLite writes it back into the file by itself, but
//! begins it anew only at a moment when nobody reads, and where readers overlap there is none. So
//! who writes makes that moment now and then: it writes everything back, after which new readers
//! read the file alone, and waits until the last of the others has ended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Executor, Row};

use super::BUSY_TIMEOUT;

/// Eight times what SQLite writes back at by itself: where nobody overlaps, this is never reached.
pub(in crate::store) const LOG_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// How long nobody writes, at most, while readers of the log end. Ours take milliseconds.
const WAITS_FOR_READERS: Duration = Duration::from_millis(100);

/// After a reader that takes longer (an audit, a backup), so that writing loses little by it.
const LOOKED_AT_AGAIN_AFTER: Duration = Duration::from_secs(2);

pub(super) struct LogSize {
    file: PathBuf,
    look_at: Instant,
}

impl LogSize {
    pub(super) fn of(database: &Path) -> Self {
        let mut file = database.as_os_str().to_owned();
        file.push("-wal");
        Self { file: file.into(), look_at: Instant::now() }
    }

    /// Called after a commit, on the connection that writes.
    pub(super) async fn keep_small(&mut self, connection: &mut SqliteConnection) {
        if Instant::now() < self.look_at {
            return;
        }
        // One look at the file is nothing beside the commit before it.
        let bytes = std::fs::metadata(&self.file).map_or(0, |file| file.len());
        if bytes < LOG_BYTES_MAX {
            return;
        }
        match begin_anew(connection).await {
            Ok(true) => tracing::debug!(bytes, "the log of the file began anew"),
            Ok(false) => {
                self.look_at = Instant::now() + LOOKED_AT_AGAIN_AFTER;
                tracing::debug!(bytes, "the log of the file grows while somebody reads");
            }
            // The next commit says what is wrong, to somebody who waits for it.
            Err(error) => tracing::warn!(%error, "the log of the file was not written back"),
        }
    }
}

/// Answers whether nobody reads the log any more.
async fn begin_anew(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    busy_timeout(connection, WAITS_FOR_READERS).await?;
    let written = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
    busy_timeout(connection, BUSY_TIMEOUT).await?;
    let busy: i64 = written?.try_get(0)?;
    Ok(busy == 0)
}

async fn busy_timeout(
    connection: &mut SqliteConnection,
    timeout: Duration,
) -> Result<(), sqlx::Error> {
    let sql = format!("PRAGMA busy_timeout = {}", timeout.as_millis());
    connection.execute(AssertSqlSafe(sql)).await.map(drop)
}
