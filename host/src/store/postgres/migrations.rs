//! Applying what is missing of the schema, under a lock, however many hosts start together.

use sqlx::migrate::{Migration, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, SqlSafeStr};

use super::connections::Connections;
use crate::store::migrate;
use crate::store::open::OpenError;

pub(super) async fn apply(connections: &Connections) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
    let mut connection = connections.bare().await.map_err(failed)?;
    let migrated = if connections.has_pooler() {
        let list = migrate::postgres().iter().cloned().collect();
        in_one_transaction(&mut connection, list).await
    } else {
        migrate::postgres()
            .run_direct(None, &mut *connection, false)
            .await
            .map_err(migrate::explain)
    };
    // Closed, not returned: after a refusal it still holds the migrations' lock. Whether the
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
) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
    let mut tx = connection.begin_with("BEGIN; DEALLOCATE ALL").await.map_err(failed)?;
    let database: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&mut *tx)
        .await
        .map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(lock_of(&database))
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    let applied = applied(&mut tx).await.map_err(failed)?;
    let is_new = applied.is_empty();
    let mut all = Vec::with_capacity(list.len());
    for mut migration in list {
        if migration.no_tx {
            if !is_new && !applied.contains(&migration.version) {
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
         transaction mode does not let through. Start one host with an address of the database \
         itself in store.url; then the others find it done"
    )
}

/// What was applied before; nothing in a new database.
async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT version FROM _sqlx_migrations").fetch_all(connection).await
}

/// The lock that sqlx takes on a connection of its own, so that hosts with a pooler and hosts
/// without one wait for each other.
fn lock_of(database: &str) -> i64 {
    0x3d32_ad9e * i64::from(crc32(database.as_bytes()))
}

/// CRC-32 as zip and gzip have it.
fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 }
        })
    });
    !crc
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checksum_is_the_one_of_its_standard() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}
