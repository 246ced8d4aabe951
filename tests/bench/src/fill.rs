//! Events to work on, written as a service that shares the database would write them.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tidegate::store::{self, StoreOptions};

use crate::cluster::Cluster;
use crate::fallible::Fallible;
use crate::report::progress;
use crate::scene::Scene;

/// The type that the no-op component handles.
pub(crate) const EVENT_TYPE: &str = "NOOP";

/// The payload of a withdrawal's event, as the host writes it.
pub(crate) const PAYLOAD: &str = r#"{"withdrawal_id":"01890000-0000-7000-8000-000000000001","user_id":"user-4711","asset":"USDC","network":"eip155:1","amount":"125.500000","destination_address":"0x52908400098527886E0F7030069857D2E4169EE7","status":"REQUESTED","tx_hash":null,"failure_reason":null,"requested_at":"2026-01-01T00:00:00.000Z","broadcasted_at":null,"confirmed_at":null}"#;

/// Rows of one statement.
const BATCH: u64 = 100_000;

/// What the filled events are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Pending,
    Finished,
}

/// Makes an empty database with Tidegate's schema.
pub(crate) async fn empty_postgres(cluster: &Cluster, database: &str) -> Fallible<String> {
    let url = cluster.create(database).await?;
    let store = store::open(&url.parse()?, StoreOptions::default()).await?;
    store.close().await;
    Ok(url)
}

/// Writes events, then brings the table to the state that autovacuum and a checkpoint leave.
pub(crate) async fn postgres(
    cluster: &Cluster,
    database: &str,
    kind: Kind,
    events: u64,
) -> Fallible<()> {
    let mut connection = cluster.connect(database).await?;
    let mut written = next_number(&mut connection).await?;
    let end = written + events;
    while written < end {
        let until = end.min(written + BATCH);
        let sql = postgres_insert(kind, written, until - 1);
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
        written = until;
        if events > BATCH {
            progress(&format!(
                "  {database}: {} of {events} events written",
                written + events - end
            ));
        }
    }
    sqlx::raw_sql("VACUUM ANALYZE outbox_events").execute(&mut connection).await?;
    sqlx::raw_sql("CHECKPOINT").execute(&mut connection).await?;
    Ok(())
}

async fn next_number(connection: &mut PgConnection) -> Fallible<u64> {
    let rows: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM outbox_events")
        .fetch_one(connection)
        .await?;
    Ok(u64::try_from(rows)? + 1)
}

fn postgres_insert(kind: Kind, first: u64, last: u64) -> String {
    let (columns, values) = match kind {
        Kind::Pending => ("", ""),
        Kind::Finished => (", status, lease_token, done_at", ", 'DONE', 1, now()"),
    };
    // Three events a withdrawal, and ids in the order of creation, as UUID v7 are.
    let id = "('01890000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid";
    let of = "'01890000-0000-7000-9000-' || lpad(to_hex(n / 3), 12, '0')";
    format!(
        "INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload, \
         idempotency_key{columns}) SELECT {id}, 'WITHDRAWAL', {of}, '{EVENT_TYPE}', \
         '{PAYLOAD}', {id}{values} FROM generate_series({first}::bigint, {last}::bigint) AS n"
    )
}

/// A SQLite file with Tidegate's schema and this many pending events.
pub(crate) async fn sqlite(scene: &Scene, events: u64) -> Fallible<String> {
    let path = scene.folder("sqlite")?.join("tidegate.db");
    let url = format!("sqlite:{}", path.display());
    let store = store::open(&url.parse()?, StoreOptions::default()).await?;
    store.close().await;
    let mut connection = SqliteConnectOptions::new().filename(&path).connect().await?;
    let id = "printf('01890000-0000-7000-8000-%012x', n)";
    let sql = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {events}) \
         INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload, \
         idempotency_key) SELECT {id}, 'WITHDRAWAL', printf('01890000-0000-7000-9000-%012x', n / 3), \
         '{EVENT_TYPE}', '{PAYLOAD}', {id} FROM numbers"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut connection).await?;
    Ok(url)
}
