//! The database that is filled, in one transaction, while no host writes to it.

use futures_util::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor, Row, Transaction};
use uuid::Uuid;

use super::columns::{Column, Digest, Kind};
use super::source::Source;
use super::{MoveError, MoveProgress, MovedTable};
use crate::store::migrate;
use crate::store::open::OpenError;

/// So much is collected before it is sent.
const SENT_BYTES: usize = 256 * 1024;
const PROGRESS_EVERY_ROWS: u64 = 10_000;

pub(super) struct Target<'c>(Transaction<'c, sqlx::Postgres>);

fn failed(error: &sqlx::Error) -> MoveError {
    MoveError::Target(OpenError::from_sqlx(error))
}

fn of_table(table: &str, cause: &dyn std::fmt::Display) -> MoveError {
    MoveError::Copy { table: table.to_owned(), cause: cause.to_string() }
}

impl<'c> Target<'c> {
    /// Locks every table against writing.
    pub(super) async fn begin(connection: &'c mut PgConnection) -> Result<Self, MoveError> {
        let mut tx = connection.begin().await.map_err(|error| failed(&error))?;
        tx.execute("SET LOCAL statement_timeout = 0").await.map_err(|error| failed(&error))?;
        tx.execute("SET LOCAL lock_timeout = '5s'").await.map_err(|error| failed(&error))?;
        let names: Vec<_> = migrate::tables().into_iter().map(|t| format!("\"{t}\"")).collect();
        let lock = format!("LOCK TABLE {}, store_moves IN EXCLUSIVE MODE", names.join(", "));
        tx.execute(AssertSqlSafe(lock))
            .await
            .map_err(|error| MoveError::TargetInUse { cause: error.to_string() })?;
        Ok(Self(tx))
    }

    /// Whether this very move was committed.
    pub(super) async fn has(&mut self, id: Uuid) -> Result<bool, MoveError> {
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM store_moves WHERE id = $1)")
            .bind(id)
            .fetch_one(&mut *self.0)
            .await
            .map_err(|error| failed(&error))
    }

    pub(super) async fn must_be_empty(&mut self) -> Result<(), MoveError> {
        for table in migrate::tables().into_iter().chain(["store_moves"]) {
            let sql = format!("SELECT EXISTS (SELECT 1 FROM \"{table}\")");
            let rows: bool = sqlx::query_scalar(AssertSqlSafe(sql))
                .fetch_one(&mut *self.0)
                .await
                .map_err(|error| failed(&error))?;
            if rows {
                return Err(MoveError::TargetNotEmpty { table: table.to_owned() });
            }
        }
        Ok(())
    }

    pub(super) async fn columns(&mut self, table: &str) -> Result<Vec<Column>, MoveError> {
        let rows = sqlx::query(
            "SELECT column_name::text, data_type::text FROM information_schema.columns \
             WHERE table_name = $1 AND table_schema = (SELECT n.nspname FROM pg_class AS c \
             JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)) \
             ORDER BY ordinal_position",
        )
        .bind(table)
        .fetch_all(&mut *self.0)
        .await
        .map_err(|error| failed(&error))?;
        rows.iter()
            .map(|row| {
                let name: String = row.try_get(0).map_err(|error| failed(&error))?;
                let data_type: String = row.try_get(1).map_err(|error| failed(&error))?;
                let kind = Kind::of(&data_type)
                    .ok_or_else(|| of_table(table, &format!("{name} is of type {data_type}")))?;
                Ok(Column { name, kind })
            })
            .collect()
    }

    /// Copies a table's rows; answers what was sent.
    pub(super) async fn fill(
        &mut self,
        table: &str,
        columns: &[Column],
        source: &mut Source,
        progress: &mut (dyn FnMut(MoveProgress<'_>) + Send),
    ) -> Result<Digest, MoveError> {
        let names: Vec<_> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let sql = format!("COPY \"{table}\" ({}) FROM STDIN", names.join(", "));
        let mut copy = self.0.copy_in_raw(&sql).await.map_err(|error| of_table(table, &error))?;
        let mut rows = source.rows(table, columns);
        let mut digest = Digest::default();
        let mut text = String::with_capacity(2 * SENT_BYTES);
        loop {
            let row = rows.try_next().await.map_err(|cause| of_table(table, &cause))?;
            let ended = row.is_none();
            if let Some(row) = row {
                let values = line(&row, columns, &mut text).map_err(|at| of_table(table, &at))?;
                digest.add(&values);
                if digest.rows.is_multiple_of(PROGRESS_EVERY_ROWS) {
                    progress(MoveProgress { table, rows: digest.rows });
                }
            }
            if text.len() >= SENT_BYTES || (ended && !text.is_empty()) {
                copy.send(text.as_bytes()).await.map_err(|error| of_table(table, &error))?;
                text.clear();
            }
            if ended {
                break;
            }
        }
        copy.finish().await.map_err(|error| of_table(table, &error))?;
        Ok(digest)
    }

    /// Reads a table back.
    pub(super) async fn digest(
        &mut self,
        table: &str,
        columns: &[Column],
    ) -> Result<Digest, MoveError> {
        let reads: Vec<_> = columns.iter().map(|c| c.kind.read_back(&c.name)).collect();
        let sql = format!("SELECT {} FROM \"{table}\"", reads.join(", "));
        let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(&mut *self.0);
        let mut digest = Digest::default();
        while let Some(row) = rows.try_next().await.map_err(|error| failed(&error))? {
            let mut values = Vec::with_capacity(columns.len());
            for (at, column) in columns.iter().enumerate() {
                let value: Option<String> = row.try_get(at).map_err(|error| failed(&error))?;
                let value = value.map(|text| column.kind.canonical(text)).transpose();
                values.push(value.map_err(|cause| of_table(table, &cause))?);
            }
            digest.add(&values);
        }
        Ok(digest)
    }

    /// Numbers that were given out are not given out again.
    pub(super) async fn go_on_counting(
        &mut self,
        table: &str,
        source: &mut Source,
    ) -> Result<(), MoveError> {
        let last = source.last_number(table).await?;
        let counted: Option<String> = sqlx::query_scalar(
            "SELECT pg_get_serial_sequence($1, attname) FROM pg_attribute \
             WHERE attrelid = to_regclass($1) AND attidentity <> ''",
        )
        .bind(table)
        .fetch_optional(&mut *self.0)
        .await
        .map_err(|error| failed(&error))?
        .flatten();
        let Some(sequence) = counted.filter(|_| last > 0) else { return Ok(()) };
        sqlx::query("SELECT setval($1::text::regclass, $2)")
            .bind(sequence)
            .bind(last)
            .execute(&mut *self.0)
            .await
            .map(drop)
            .map_err(|error| failed(&error))
    }

    pub(super) async fn set_mark(&mut self, id: Uuid, from: &str) -> Result<(), MoveError> {
        sqlx::query(
            "INSERT INTO store_moves (id, direction, other, begun_at, ended_at) \
             VALUES ($1, 'in', $2, now(), now())",
        )
        .bind(id)
        .bind(from)
        .execute(&mut *self.0)
        .await
        .map(drop)
        .map_err(|error| failed(&error))
    }

    pub(super) async fn commit(self) -> Result<(), MoveError> {
        self.0.commit().await.map_err(|error| MoveError::Unknown { cause: error.to_string() })
    }
}

/// One line of COPY; answers the values that it is compared by.
fn line(
    row: &sqlx::sqlite::SqliteRow,
    columns: &[Column],
    text: &mut String,
) -> Result<Vec<Option<String>>, String> {
    let mut values = Vec::with_capacity(columns.len());
    for (at, Column { name, kind }) in columns.iter().enumerate() {
        if at > 0 {
            text.push('\t');
        }
        let in_column = |what: String| format!("{name}: {what}");
        let value = kind.of_sqlite(row, at).map_err(in_column)?;
        match &value {
            Some(value) => kind.copy(value, text).map_err(in_column)?,
            None => text.push_str("\\N"),
        }
        values.push(value.map(|value| kind.canonical(value)).transpose().map_err(in_column)?);
    }
    text.push('\n');
    Ok(values)
}

/// Whether a database holds what a move brought. One without our tables holds nothing.
pub(super) async fn holds(connection: &mut PgConnection, id: Uuid) -> Result<bool, MoveError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('store_moves') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(|error| failed(&error))?;
    if !exists {
        return Ok(false);
    }
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM store_moves WHERE id = $1)")
        .bind(id)
        .fetch_one(connection)
        .await
        .map_err(|error| failed(&error))
}

/// Tells the planner what is there; without it, autovacuum does so a minute later.
pub(super) async fn analyze(connection: &mut PgConnection, tables: &[MovedTable]) {
    for MovedTable { table, .. } in tables {
        let analyzed = connection.execute(AssertSqlSafe(format!("ANALYZE \"{table}\""))).await;
        if let Err(error) = analyzed {
            tracing::warn!(%error, table, "the statistics were left to autovacuum");
        }
    }
}
