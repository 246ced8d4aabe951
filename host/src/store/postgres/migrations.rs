//! Applying what is missing of the schema, under a lock, however many hosts start together.

use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::connections::Connections;
use crate::store::migrate;
use crate::store::open::OpenError;

pub(super) async fn apply(connections: &Connections) -> Result<(), OpenError> {
    let failed = |error: sqlx::Error| OpenError::from_sqlx(&error);
    let mut connection = connections.bare().await.map_err(failed)?;
    let migrated = if connections.has_pooler() {
        in_one_transaction(&mut connection).await
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
async fn in_one_transaction(connection: &mut PgConnection) -> Result<(), OpenError> {
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
    let mut migrator = migrate::postgres();
    migrator.set_locking(false);
    migrator.run_direct(None, &mut *tx, false).await.map_err(migrate::explain)?;
    tx.commit().await.map_err(failed)
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
