//! The embedded store: one SQLite file, for one host. Several processes may read it, and services
//! that share it may insert into the outbox.
//!
//! One connection writes, owned by the [`writer`]; a pool of others reads. The database's clock is
//! this machine's, read once for each job that writes.

mod accept;
mod backlog;
mod chain;
mod checkpoints;
mod claim;
mod control;
mod file;
mod maintain;
mod operate;
mod repair;
mod retain;
mod row;
mod settle;
mod sign;
mod write;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

#[cfg(test)]
pub(super) use self::claim::{CLAIM, CLAIM_IN_ORDER};
use self::file::Found;
#[cfg(test)]
pub(super) use self::retain::FINISHED;
#[cfg(test)]
pub(super) use self::settle::SETTLE;
use self::writer::Writer;
use super::open::{OpenError, StoreOptions};
use super::wakeup::Wakeup;
use super::{StoreError, migrate};
use crate::domain::{Flow, Timestamp};

/// How long a write waits for another process's. Ours are milliseconds; a backup tool's may not be.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Up to this size the whole file is checked when it is opened: about 0.2 s. Damage in a larger one
/// is found where it is met.
const CHECKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub(super) struct Sqlite {
    reads: SqlitePool,
    writer: Writer,
    flow: Arc<Flow>,
    wakeup: Wakeup,
}

impl Sqlite {
    pub(super) async fn open(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let found = file::look(path).await?;
        let checked = matches!(found, Found::File(bytes) if bytes <= CHECKED_BYTES_MAX);
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit is on the disk before it is answered: a 201 means that.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("temp_store", "memory")
            // The rows of the largest claim, so that the connection's thread never waits for who
            // reads them.
            .row_buffer_size(super::CLAIM_MAX as usize)
            // After a burst the log gives its space back.
            .pragma("journal_size_limit", "67108864");
        let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
        let mut connection = connect.connect().await.map_err(failed)?;
        // Whoever opens it again later finds this file, or none.
        let connect = connect.create_if_missing(false);
        if checked {
            let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
                .fetch_one(&mut connection)
                .await
                .map_err(failed)?;
            if verdict != "ok" {
                return Err(OpenError::Damaged { cause: verdict });
            }
        }
        // Two processes that start together migrate one after the other. (`run` would do, but makes
        // a future that cannot be spawned.)
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        migrate::sqlite().run_direct(None, &mut *tx, false).await.map_err(migrate::explain)?;
        tx.commit().await.map_err(failed)?;
        if found == Found::Nothing {
            // So that whoever expected the old one sees it.
            tracing::warn!(store.file = %path.display(), "there was no store: made a new, empty one");
        }

        let reads = SqlitePoolOptions::new()
            .max_connections(options.connections_max.max(1))
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(connect.clone().pragma("query_only", "on"))
            .await
            .map_err(failed)?;
        Ok(Self {
            reads,
            writer: Writer::start(connect, connection, file::Identity::of(path)),
            flow: Arc::new(options.flow),
            wakeup: Wakeup::new(),
        })
    }

    async fn close(&self) {
        self.writer.close().await;
        self.reads.close().await;
    }
}

/// The database's clock. SQLite has none but this machine's.
fn now() -> Timestamp {
    chrono::DateTime::from_timestamp_micros(chrono::Utc::now().timestamp_micros())
        .unwrap_or_default()
}

/// A number of the chain as SQLite keeps it.
fn stored(doing: &'static str, number: u64) -> Result<i64, StoreError> {
    i64::try_from(number)
        .map_err(|_| StoreError::conflict(doing, format!("{number} is beyond what can be stored")))
}
