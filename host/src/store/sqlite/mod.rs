//! The embedded store: one SQLite file, for one host. Several processes may read it, and services
//! that share it may insert into the outbox.
//!
//! One connection writes, owned by the [`writer`]; a pool of others reads. The database's clock is
//! this machine's, read once for each job that writes.

mod accept;
mod accounts;
mod backlog;
mod backup;
mod breakers;
mod chain;
mod checkpoints;
mod claim;
mod control;
mod ends;
mod file;
mod limits;
mod log_size;
mod maintain;
mod moved;
mod operate;
mod policies;
mod releases;
mod repair;
mod retain;
mod row;
mod settle;
mod sign;
mod snapshot;
mod unrouted;
mod write;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

pub(super) use self::backup::back_up;
#[cfg(test)]
pub(super) use self::claim::{CLAIM, CLAIM_IN_ORDER};
use self::file::Found;
#[cfg(test)]
pub(super) use self::limits::{DUE, KEYS};
#[cfg(test)]
pub(super) use self::log_size::LOG_BYTES_MAX;
#[cfg(test)]
pub(super) use self::retain::FINISHED;
#[cfg(test)]
pub(super) use self::settle::{SETTLE, SETTLE_DONE};
pub(super) use self::snapshot::SqliteSnapshot;
use self::writer::Writer;
use super::gather::Gathering;
use super::open::{OpenError, StoreOptions};
use super::wakeup::Wakeup;
use super::{StoreError, migrate};
use crate::domain::{Flow, Policies, Timestamp};

/// How long a write waits for another process's. Ours are milliseconds; a backup tool's may not be.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Up to this size the whole file is checked when it is opened: about 0.2 s. Damage in a larger one
/// is found where it is met.
const CHECKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub(super) struct Sqlite {
    reads: SqlitePool,
    writer: Arc<Writer>,
    gathering: Gathering,
    flow: Arc<Flow>,
    policies: Arc<Policies>,
    wakeup: Wakeup,
    /// The hint that releases changed.
    releases: Wakeup,
}

impl Sqlite {
    pub(super) async fn open(path: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        let found = file::look(path).await?;
        let checked = matches!(found, Found::File(bytes) if bytes <= CHECKED_BYTES_MAX);
        let connect = options_of(path);
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
        if options.migrate {
            migrate::run_sqlite(&mut connection, migrate::sqlite()).await?;
        } else {
            migrate::require_current_sqlite(&mut connection).await?;
        }
        if found == Found::Nothing {
            // So that whoever expected the old one sees it.
            tracing::warn!(store.file = %path.display(), "there was no store: made a new, empty one");
        }
        moved::refuse(&mut connection).await?;

        let reads = SqlitePoolOptions::new()
            .max_connections(options.connections_max.max(1))
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_with(connect.clone().pragma("query_only", "on"))
            .await
            .map_err(failed)?;
        let writer = Arc::new(Writer::start(connect, connection, file::Identity::of(path)));
        Ok(Self {
            reads,
            // One, for the file has one writer: while it writes, the next gather.
            gathering: Gathering::start(1, accept::Together(Arc::clone(&writer))),
            writer,
            flow: Arc::new(options.flow),
            policies: Arc::new(options.policies),
            wakeup: Wakeup::new(),
            releases: Wakeup::new(),
        })
    }

    async fn close(&self) {
        self.gathering.close().await;
        self.writer.close().await;
        self.reads.close().await;
    }
}

pub(super) fn options_of(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
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
        .pragma("journal_size_limit", "67108864")
}

/// A connection that writes, beside every store; the file is made if there is none.
pub(super) async fn connect_to_write(path: &Path) -> Result<SqliteConnection, OpenError> {
    options_of(path).connect().await.map_err(|error| OpenError::from_sqlx(&error))
}

/// A connection that reads a file, which must be there, and may be in use.
pub(super) async fn connect_to_read(path: &Path) -> Result<SqliteConnection, OpenError> {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .connect()
        .await
        .map_err(|error| OpenError::from_sqlx(&error))
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
