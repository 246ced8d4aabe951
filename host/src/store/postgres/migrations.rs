//! Applying what is missing of the schema, under a lock, however many hosts start together.

use sqlx::migrate::{Migration, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr};

use super::connections::Connections;
use crate::store::migrate;
use crate::store::migrate::postgres::{LOCK, applied};
use crate::store::open::OpenError;

/// Makes the schema this binary's; or, where that is not wanted, finds that it is not.
pub(super) async fn apply(connections: &Connections, wanted: bool) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
    let mut connection = connections.bare().await.map_err(failed)?;
    let list = migrate::postgres();
    let migrated = if connections.has_pooler() {
        in_one_transaction(&mut connection, list, wanted).await
    } else if wanted {
        migrate::postgres::run(&mut connection, &list).await.map(drop)
    } else {
        migrate::require_current_postgres(&mut connection).await
    };
    // Closed, not returned: after a refusal it may still hold the migrations' lock. Whether the
    // closing succeeds is of no account, for all is committed.
    let _closed = connection.close().await;
    migrated
}

/// Behind a pooler in transaction mode a lock of the session would be left on a server connection
/// that is anybody's. So it is the transaction's, and everything is done in one.
///
/// # Errors
/// Also if an index of a table in use is to be built beside those who write: that is no part of a
/// transaction, and built in one it would keep them waiting.
pub(in crate::store) async fn in_one_transaction(
    connection: &mut PgConnection,
    list: Vec<Migration>,
    wanted: bool,
) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
    let mut tx = connection.begin_with("BEGIN; DEALLOCATE ALL").await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, $2)")
        .bind(LOCK.0)
        .bind(LOCK.1)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    let before = applied(&mut tx).await?;
    let missing = migrate::pending(&list, &before)?;
    if missing.is_empty() || !wanted {
        return migrate::current(&missing);
    }
    let mut all = Vec::with_capacity(list.len());
    for mut migration in list {
        if migration.no_tx {
            if !before.is_empty() && missing.contains(&migration.version) {
                return Err(OpenError::Migration { cause: alone(migration.version) });
            }
            // Nobody writes into tables that were made a moment ago. What it was checked by stays.
            let at_once = migration.sql.as_str().replace("INDEX CONCURRENTLY", "INDEX");
            migration.sql = AssertSqlSafe(at_once).into_sql_str();
            migration.no_tx = false;
        }
        all.push(migration);
    }
    let mut migrator = Migrator::with_migrations(all);
    migrator.set_locking(false);
    migrator.run_direct(None, &mut *tx, false).await.map_err(migrate::explain)?;
    tx.commit().await.map_err(failed)
}

fn alone(version: i64) -> String {
    format!(
        "migration {version} builds an index beside those who write, which a connection pooler in \
         transaction mode does not let through. Run `tidegate migrate run` with an address of the \
         database itself; then every host finds it done"
    )
}
