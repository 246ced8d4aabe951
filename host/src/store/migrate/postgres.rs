//! Migrating Postgres while hosts work: one migrates, nobody waits for longer than a moment.
//!
//! Who waits for the lock asks for it again and again, and waits in no statement: a statement that
//! waits has a snapshot, and `CREATE INDEX CONCURRENTLY` waits for every older snapshot, so the two
//! would wait for each other.

use std::time::{Duration, Instant};

use sqlx::migrate::{Migrate, Migration};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

use super::{APPLIED, Applied, explain, pending, record};
use crate::store::open::OpenError;

/// The key of the advisory lock, which is the database's own. Any number does; this one is "tide".
pub(in crate::store) const LOCK: (i32, i32) = (0x7469_6465, 1);
const LOCK_ASKED_EVERY: Duration = Duration::from_millis(200);
const WAITING_TOLD_EVERY: Duration = Duration::from_secs(10);

/// How long a change may wait for a table. Those who come after it wait too, so it is short, and
/// taken three times in one transaction it is still less than a second.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '300ms'";
/// How often a change that found the table busy is tried, and how long after.
const TRIES: u32 = 240;
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Applies what is missing, once, however many hosts start together; answers what this call applied.
/// The connection is good for nothing else afterwards.
///
/// # Errors
/// See [`OpenError`]. What was applied before the one that failed stays.
pub(in crate::store) async fn run(
    connection: &mut PgConnection,
    list: &[Migration],
) -> Result<Vec<i64>, OpenError> {
    // Most hosts start with nothing to do, and then wait for nobody and write nothing.
    if pending(list, &applied(connection).await?)?.is_empty() {
        return Ok(Vec::new());
    }
    lock(connection).await?;
    let done = run_locked(connection, list).await;
    let unlock = "SELECT pg_advisory_unlock($1, $2)";
    let unlocked = sqlx::query(unlock).bind(LOCK.0).bind(LOCK.1).execute(connection).await;
    let done = done?;
    unlocked.map_err(|error| OpenError::from_sqlx(&error))?;
    Ok(done)
}

async fn run_locked(
    connection: &mut PgConnection,
    list: &[Migration],
) -> Result<Vec<i64>, OpenError> {
    // A role may bound its statements, but building an index takes what it takes.
    set(connection, "SET statement_timeout = 0").await?;
    set(connection, "SET idle_in_transaction_session_timeout = 0").await?;
    set(connection, "SET lock_timeout = 0").await?;
    connection.ensure_migrations_table(APPLIED).await.map_err(explain)?;
    let missing = pending(list, &applied(connection).await?)?;
    for migration in list.iter().filter(|migration| missing.contains(&migration.version)) {
        if migration.no_tx {
            build_indexes(connection, migration).await?;
        } else {
            change(connection, migration).await?;
        }
        tracing::info!(migration = migration.version, name = %migration.description, "applied");
    }
    Ok(missing)
}

async fn set(connection: &mut PgConnection, sql: &'static str) -> Result<(), OpenError> {
    connection.execute(sql).await.map(drop).map_err(|error| OpenError::from_sqlx(&error))
}

async fn lock(connection: &mut PgConnection) -> Result<(), OpenError> {
    let mut told = Instant::now();
    loop {
        let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)")
            .bind(LOCK.0)
            .bind(LOCK.1)
            .fetch_one(&mut *connection)
            .await
            .map_err(|error| OpenError::from_sqlx(&error))?;
        if locked {
            return Ok(());
        }
        if told.elapsed() >= WAITING_TOLD_EVERY {
            told = Instant::now();
            tracing::info!("waiting for another host, which migrates the store");
        }
        tokio::time::sleep(LOCK_ASKED_EVERY).await;
    }
}

/// One transaction. Where a table is busy for too long it is undone, so that those who wait behind
/// it go on, and tried again.
async fn change(connection: &mut PgConnection, migration: &Migration) -> Result<(), OpenError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_change(connection, migration).await {
            Err(error) if is_busy(&error) && tries < TRIES => {
                tracing::debug!(migration = migration.version, tries, "a table is busy");
                tokio::time::sleep(TRIED_AGAIN_AFTER).await;
            }
            Err(error) if is_busy(&error) => {
                return Err(OpenError::Migration {
                    cause: format!(
                        "a table was busy each of {tries} times: end the transaction that holds \
                         it, and start again ({error})"
                    ),
                });
            }
            Err(error) => return Err(OpenError::from_sqlx(&error)),
            Ok(()) => return Ok(()),
        }
    }
}

async fn try_change(
    connection: &mut PgConnection,
    migration: &Migration,
) -> Result<(), sqlx::Error> {
    use sqlx::migrate::MigrateError;
    let mut tx = connection.begin().await?;
    tx.execute(LOCK_TIMEOUT).await?;
    match Migrate::apply(&mut *tx, APPLIED, migration).await {
        Ok(_) => tx.commit().await,
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(error),
        Err(other) => Err(sqlx::Error::Protocol(other.to_string())),
    }
}

/// Whether another try may succeed: a lock that was not to be had, or a circle of them.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "55P03" || code == "40P01")
}

/// Builds indexes while others write. A build that was interrupted leaves an index behind that
/// costs and serves nobody: it is dropped, and built again.
async fn build_indexes(
    connection: &mut PgConnection,
    migration: &Migration,
) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
    for statement in statements(migration.sql.as_str()) {
        if let Some(name) = index_of(&statement) {
            let invalid: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM pg_index WHERE indexrelid = to_regclass($1) \
                 AND NOT indisvalid)",
            )
            .bind(name)
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
            if invalid {
                let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
                connection.execute(AssertSqlSafe(drop)).await.map_err(failed)?;
            }
        }
        // Alone in its message: several statements in one would be one transaction.
        connection.execute(AssertSqlSafe(statement)).await.map_err(failed)?;
    }
    record(connection, migration).await
}

/// The statements of a text whose comments are whole lines. What stands between two `$$` is a part of
/// one, with all its semicolons.
pub(super) fn statements(sql: &str) -> Vec<String> {
    let code: Vec<_> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = code.join("\n");
    let pieces = code.split("$$").enumerate().map(|(n, piece)| match n % 2 {
        0 => piece.to_owned(),
        _ => piece.replace(';', "\0"),
    });
    let code = pieces.collect::<Vec<_>>().join("$$");
    let texts = code.split(';').map(|text| text.trim().replace('\0', ";"));
    texts.filter(|text| !text.is_empty()).collect()
}

/// The name of the index that a statement builds beside those who write.
pub(super) fn index_of(statement: &str) -> Option<&str> {
    let after = statement.split_once("INDEX CONCURRENTLY IF NOT EXISTS ")?.1;
    after.split_whitespace().next()
}

pub(in crate::store) async fn applied(
    connection: &mut PgConnection,
) -> Result<Vec<Applied>, OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
    if !exists {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT version, description, checksum, installed_on::text AS at \
         FROM _sqlx_migrations WHERE success ORDER BY version",
    )
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: row.try_get("version").map_err(failed)?,
                name: row.try_get("description").map_err(failed)?,
                checksum: row.try_get("checksum").map_err(failed)?,
                at: row.try_get("at").map_err(failed)?,
            })
        })
        .collect()
}
