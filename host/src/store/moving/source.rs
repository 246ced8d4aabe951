//! The file that is moved. Nobody else has it open meanwhile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sqlx::sqlite::{SqliteLockingMode, SqliteRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};
use uuid::Uuid;

use super::MoveError;
use super::columns::Column;
use crate::store::migrate;
use crate::store::open::OpenError;

/// How long it is waited for others to close the file.
const WAITS_FOR_OTHERS: Duration = Duration::from_secs(2);

pub(super) struct Source {
    path: PathBuf,
    connection: SqliteConnection,
}

/// Says where the file is moved to.
pub(super) struct Mark {
    pub(super) id: Uuid,
    pub(super) other: String,
}

impl Source {
    pub(super) async fn open(path: &Path) -> Result<Self, MoveError> {
        let failed = |error: sqlx::Error| match OpenError::from_sqlx(&error) {
            OpenError::Locked { cause } => MoveError::SourceInUse { cause },
            other => MoveError::Source(other),
        };
        // Exclusive: whoever has the file open, even to read, keeps this connection out, and a host
        // that starts meanwhile is kept out by it.
        let mut connection = crate::store::sqlite::options_of(path)
            .create_if_missing(false)
            .locking_mode(SqliteLockingMode::Exclusive)
            .busy_timeout(WAITS_FOR_OTHERS)
            .connect()
            .await
            .map_err(failed)?;
        let lock = connection.begin_with("BEGIN EXCLUSIVE").await.map_err(failed)?;
        lock.commit().await.map_err(failed)?;
        migrate::require_current_sqlite(&mut connection).await.map_err(MoveError::Source)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// What the target calls it.
    pub(super) fn name(&self) -> String {
        format!("sqlite:{}", self.path.display())
    }

    pub(super) async fn mark(&mut self) -> Result<Option<Mark>, MoveError> {
        let found = sqlx::query("SELECT id, other FROM store_moves WHERE direction = 'out'")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(|error| unwritable(&error))?;
        let Some(found) = found else { return Ok(None) };
        let id: String = found.try_get(0).map_err(|error| unwritable(&error))?;
        let other = found.try_get(1).map_err(|error| unwritable(&error))?;
        let id = id.parse().map_err(|_| MoveError::MovedElsewhere { to: id })?;
        Ok(Some(Mark { id, other }))
    }

    /// From here on no host starts on the file.
    pub(super) async fn set_mark(&mut self, to: &str) -> Result<Uuid, MoveError> {
        let id = Uuid::now_v7();
        self.write(
            "INSERT INTO store_moves (id, direction, other, begun_at) VALUES (?1, 'out', ?2, ?3)",
            &[&id.to_string(), to],
        )
        .await?;
        Ok(id)
    }

    pub(super) async fn complete(&mut self, id: Uuid) -> Result<(), MoveError> {
        let complete = "UPDATE store_moves SET ended_at = coalesce(ended_at, ?3) \
                        WHERE id = ?1 AND direction = 'out' AND ?2 = ''";
        self.write(complete, &[&id.to_string(), ""]).await
    }

    pub(super) async fn take_mark_back(&mut self, id: Uuid) -> Result<(), MoveError> {
        let remove = "DELETE FROM store_moves WHERE id = ?1 AND direction = 'out' \
                      AND ?2 = '' AND ?3 > 0";
        self.write(remove, &[&id.to_string(), ""]).await
    }

    async fn write(&mut self, sql: &'static str, texts: &[&str; 2]) -> Result<(), MoveError> {
        sqlx::query(sql)
            .bind(texts[0].to_owned())
            .bind(texts[1].to_owned())
            .bind(chrono::Utc::now().timestamp_micros())
            .execute(&mut self.connection)
            .await
            .map(drop)
            .map_err(|error| unwritable(&error))
    }

    /// All rows of a table, each once.
    pub(super) fn rows<'s>(
        &'s mut self,
        table: &str,
        columns: &[Column],
    ) -> BoxStream<'s, Result<SqliteRow, String>> {
        let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let sql = format!("SELECT {} FROM \"{table}\"", names.join(", "));
        sqlx::query(AssertSqlSafe(sql))
            .fetch(&mut self.connection)
            .map_err(|error| error.to_string())
            .boxed()
    }

    /// The last number that a table gave out, whether its row is still there or not.
    pub(super) async fn last_number(&mut self, table: &str) -> Result<i64, MoveError> {
        let last: Option<i64> =
            sqlx::query_scalar("SELECT seq FROM sqlite_sequence WHERE name = ?")
                .bind(table.to_owned())
                .fetch_optional(&mut self.connection)
                .await
                .map_err(|error| unwritable(&error))?;
        Ok(last.unwrap_or(0))
    }

    pub(super) async fn close(self) {
        // What was written was committed; closing only writes the log back.
        let _closed = self.connection.close().await;
    }
}

fn unwritable(error: &sqlx::Error) -> MoveError {
    MoveError::Source(OpenError::from_sqlx(error))
}
