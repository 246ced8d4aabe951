//! Migrations: once under a lock, refused where they are not ours, and never in the way of writers.

use std::time::Duration;

use sqlx::{Connection, PgConnection, Row};

use super::on_both_stores;
use super::world::{Db, World};
use crate::domain::HostId;
use crate::store::open::PostgresUrl;
use crate::store::{
    Claim, MigrationState, OpenError, StoreOptions, StoreUrl, migrate, migration_status, open,
};

on_both_stores!(
    eight_hosts_that_start_together_migrate_once,
    what_is_missing_is_told_and_run_and_then_there_is_nothing_to_do,
    a_host_that_may_not_migrate_refuses_an_older_schema,
    a_schema_of_another_binary_is_told_and_not_touched,
);

async fn new_store(world: &World) -> StoreUrl {
    match &world.url {
        StoreUrl::Sqlite(path) => StoreUrl::Sqlite(path.with_file_name("new.db")),
        StoreUrl::Postgres(_) => super::cluster::new_database().await.unwrap().parse().unwrap(),
    }
}

async fn eight_hosts_that_start_together_migrate_once(world: &World) {
    let url = new_store(world).await;
    let opens = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            open(&url, StoreOptions { connections_max: 2, ..StoreOptions::default() }).await
        })
    });
    for task in opens.collect::<Vec<_>>() {
        task.await.unwrap().unwrap().close().await;
    }
    let all = migration_status(&url).await.unwrap();
    assert!(all.iter().all(|one| matches!(one.state, MigrationState::Applied { .. })), "{all:?}");
    assert_eq!(migrate(&url).await.unwrap(), [0_i64; 0]);
}

async fn what_is_missing_is_told_and_run_and_then_there_is_nothing_to_do(world: &World) {
    let url = new_store(world).await;
    if let StoreUrl::Sqlite(path) = &url {
        assert!(migration_status(&url).await.is_err(), "there is no file");
        assert!(!path.exists(), "and none was made");
        std::fs::write(path, "").unwrap();
    }
    let all = migration_status(&url).await.unwrap();
    let versions: Vec<_> = all.iter().map(|one| one.version).collect();
    assert!(all.iter().all(|one| one.state == MigrationState::Pending && !one.sql.is_empty()));
    assert_eq!(migrate(&url).await.unwrap(), versions);
    assert_eq!(migrate(&url).await.unwrap(), [0_i64; 0]);
    assert_eq!(migration_status(&url).await.unwrap().len(), versions.len());
}

async fn a_host_that_may_not_migrate_refuses_an_older_schema(world: &World) {
    world.execute("DELETE FROM _sqlx_migrations WHERE version = 5").await.unwrap();
    let refuse = StoreOptions { migrate: false, ..StoreOptions::default() };
    let refused = open(&world.url, refuse.clone()).await.err().unwrap();
    assert_eq!(refused, OpenError::OlderSchema { version: 5 });
    let pending: Vec<_> = migration_status(&world.url)
        .await
        .unwrap()
        .into_iter()
        .filter(|one| one.state == MigrationState::Pending)
        .map(|one| one.version)
        .collect();
    assert_eq!(pending, [5], "nothing was written");
    world.execute("DROP TABLE store_moves").await.unwrap();
    migrate(&world.url).await.unwrap();
    open(&world.url, refuse).await.unwrap().close().await;
}

async fn a_schema_of_another_binary_is_told_and_not_touched(world: &World) {
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                 execution_time) SELECT 9999, 'later', success, checksum, 0 FROM _sqlx_migrations \
                 WHERE version = 1";
    world.execute(later).await.unwrap();
    let all = migration_status(&world.url).await.unwrap();
    let last = all.last().unwrap();
    assert_eq!((last.version, &last.state), (9999, &MigrationState::Unknown));
    let refused = migrate(&world.url).await.unwrap_err();
    assert_eq!(refused, OpenError::NewerSchema { version: 9999 });
    world.execute("UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 2").await.unwrap();
    let all = migration_status(&world.url).await.unwrap();
    assert_eq!(all[1].state, MigrationState::Changed);
}

/// A database at the schema that was before the indexes of retention.
async fn before_retention() -> Option<(StoreUrl, PgConnection)> {
    let text = super::cluster::new_database().await?;
    let mut connection = PgConnection::connect(&text).await.unwrap();
    let early: Vec<_> = migrate::postgres().into_iter().filter(|one| one.version < 4).collect();
    migrate::postgres::run(&mut connection, &early).await.unwrap();
    Some((text.parse().unwrap(), connection))
}

/// The first migration that brings the indexes of the queue.
const QUEUE: i64 = 11;

async fn migrate_below(url: &PostgresUrl, version: i64) -> Vec<i64> {
    let mut connection = crate::store::postgres::connect_alone(url).await.unwrap();
    let early: Vec<_> =
        migrate::postgres().into_iter().filter(|one| one.version < version).collect();
    migrate::postgres::run(&mut connection, &early).await.unwrap()
}

const ROWS: u32 = 300_000;

async fn fill(connection: &mut PgConnection) {
    let fill = format!(
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, status, \
         lease_token, attempt_count) SELECT 'ORDER', i, 'A', '{{}}', 'DONE', 1, 1 \
         FROM generate_series(1, {ROWS}) AS i"
    );
    sqlx::query(sqlx::AssertSqlSafe(fill)).execute(connection).await.unwrap();
}

/// What would make a writer of the outbox wait, by the table's own list of locks.
const LOCKS: &str = "SELECT l.mode, l.granted FROM pg_locks AS l \
    WHERE l.relation = 'outbox_events'::regclass AND l.mode IN \
    ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_on_a_big_table_is_built_beside_those_who_write() {
    let Some((url, mut connection)) = before_retention().await else { return };
    fill(&mut connection).await;
    let StoreUrl::Postgres(postgres) = &url else { panic!() };
    let mut writer = crate::store::postgres::connect_alone(postgres).await.unwrap();
    // Two at once: the second waits for the first without being in its way.
    let migrating = [(), ()].map(|()| {
        let postgres = postgres.clone();
        tokio::spawn(async move { migrate_below(&postgres, QUEUE).await })
    });
    let (mut written, mut building) = (0, 0);
    while !migrating.iter().all(tokio::task::JoinHandle::is_finished) {
        let locks = sqlx::query(LOCKS).fetch_all(&mut writer).await.unwrap();
        let modes: Vec<String> = locks.iter().map(|row| row.get(0)).collect();
        assert!(modes.is_empty(), "{modes:?}");
        let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_progress_create_index")
            .fetch_one(&mut writer)
            .await
            .unwrap();
        building += seen;
        sqlx::query(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             VALUES ('ORDER', '1', 'A', '{}')",
        )
        .execute(&mut writer)
        .await
        .unwrap();
        written += 1;
    }
    let mut applied = Vec::new();
    for task in migrating {
        applied.extend(task.await.unwrap());
    }
    assert_eq!(applied, [4, 5, 10], "by one of them");
    assert!(written > 0 && building > 0, "it was seen at work: {written}, {building}");
    let valid: bool = sqlx::query_scalar(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'outbox_events_done_at'::regclass",
    )
    .fetch_one(&mut writer)
    .await
    .unwrap();
    assert!(valid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_whose_building_was_interrupted_is_built_again() {
    let Some((url, mut connection)) = before_retention().await else { return };
    // What a build that was cut off leaves behind: an index that is not valid, and no row.
    for sql in
        ["INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) VALUES \
         ('ORDER', '1', 'A', '{}'), ('ORDER', '1', 'A', '{}')"]
    {
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
    let clash = "CREATE UNIQUE INDEX CONCURRENTLY outbox_events_done_at \
                 ON outbox_events (aggregate_id)";
    assert!(sqlx::query(clash).execute(&mut connection).await.is_err());
    let state = "SELECT indisvalid, indisunique FROM pg_index \
                 WHERE indexrelid = 'outbox_events_done_at'::regclass";
    let before = sqlx::query(state).fetch_one(&mut connection).await.unwrap();
    assert!(!before.get::<bool, _>(0));
    let StoreUrl::Postgres(postgres) = &url else { panic!() };
    migrate_below(postgres, QUEUE).await;
    let after = sqlx::query(state).fetch_one(&mut connection).await.unwrap();
    assert_eq!((after.get(0), after.get(1)), (true, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_waits_for_a_busy_table_without_holding_up_those_behind_it() {
    let Some(text) = super::cluster::new_database().await else { return };
    let mut connection = PgConnection::connect(&text).await.unwrap();
    let first: Vec<_> = migrate::postgres().into_iter().filter(|one| one.version < 2).collect();
    migrate::postgres::run(&mut connection, &first).await.unwrap();
    // A reader that does not end keeps every change of the table out.
    let mut reader = connection.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM outbox_events").execute(&mut *reader).await.unwrap();
    let url: StoreUrl = text.parse().unwrap();
    let migrating = tokio::spawn(async move { migrate(&url).await });
    let mut writer = PgConnection::connect(&text).await.unwrap();
    sqlx::query("SET lock_timeout = '5s'").execute(&mut writer).await.unwrap();
    let mut waited = 0;
    // It asks, gives up, and asks again; whoever writes gets through in between.
    while waited < 3 {
        let asks = "SELECT count(*) FROM pg_locks WHERE relation = 'outbox_events'::regclass \
                    AND mode = 'AccessExclusiveLock' AND NOT granted";
        let asks: i64 = sqlx::query_scalar(asks).fetch_one(&mut writer).await.unwrap();
        waited += asks;
        sqlx::query(
            "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
             VALUES ('ORDER', '1', 'A', '{}')",
        )
        .execute(&mut writer)
        .await
        .expect("nobody waits for a change for longer than a moment");
        assert!(!migrating.is_finished());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reader.rollback().await.unwrap();
    migrating.await.unwrap().unwrap();
}

/// What a rolling upgrade does to a host that runs: columns and a table are added under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_goes_on_while_columns_are_added_under_it() {
    let Some(world) = World::postgres().await else { return };
    let Db::Postgres(_) = &world.db else { panic!() };
    // Everything is prepared on the connections first.
    let before = exercise(&world).await;
    for table in migrate::tables() {
        let add = format!("ALTER TABLE {table} ADD COLUMN added_later text DEFAULT 'x'");
        world.execute(&add).await.unwrap();
    }
    for _ in 0..8 {
        assert_eq!(exercise(&world).await, before);
    }
    world.close().await;
}

/// A withdrawal from its acceptance to its timeline, by every trait that reads rows.
async fn exercise(world: &World) -> usize {
    use super::world::{BROADCAST, acceptance, done};
    let withdrawal = world.accept().await;
    super::chain::registered(world).await;
    let event = world.claim(BROADCAST, 10).await.pop().unwrap();
    super::chain::signed(world, &event).await;
    world.settle_one(&event, done()).await;
    let claim = acceptance("never used").idempotency;
    world.store.find_answer(&claim).await.unwrap();
    let timeline = world.store.timeline(withdrawal.id).await.unwrap().unwrap();
    world.store.event(event.id).await.unwrap().unwrap();
    world.store.payment(withdrawal.id).await.unwrap().unwrap();
    timeline.events.len() + timeline.transactions.len()
}

/// The statements of the binary before the queue's indexes, shortened to what they write.
const CLAIM_BEFORE: &str = "UPDATE outbox_events SET status = 'PROCESSING', locked_by = 'before', \
    locked_until = now() + interval '1 minute', lease_token = lease_token + 1, updated_at = now() \
    WHERE id = ANY (ARRAY (SELECT id FROM outbox_events WHERE status = 'PENDING' \
    AND event_type = 'A' ORDER BY available_at, id LIMIT 3 FOR UPDATE SKIP LOCKED)) RETURNING id";
const SETTLE_BEFORE: &str = "UPDATE outbox_events SET status = 'DONE', locked_by = NULL, \
    locked_until = NULL, updated_at = now() WHERE id = $1 AND locked_by = 'before'";

/// Events that say they are done at a time, and are not; or the other way round.
const WRONG: &str = "outbox_events WHERE (status = 'DONE') <> (done_at IS NOT NULL)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_from_before_the_queue_loses_nothing_beside_it() {
    let Some((url, mut before)) = before_retention().await else { return };
    let StoreUrl::Postgres(postgres) = &url else { panic!() };
    migrate_below(postgres, QUEUE).await;
    fill(&mut before).await;
    for sql in [
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload) \
         SELECT 'ORDER', i, 'A', '{}' FROM generate_series(1, 5000) AS i",
        "INSERT INTO outbox_events (aggregate_type, aggregate_id, event_type, payload, status, \
         next_retry_at) VALUES ('ORDER', 'r', 'A', '{}', 'RETRYING', now() - interval '1 s')",
        CLAIM_BEFORE,
    ] {
        sqlx::query(sql).execute(&mut before).await.unwrap();
    }

    // It goes on while another migrates; nobody waits for longer than a second.
    sqlx::query("SET lock_timeout = '1s'").execute(&mut before).await.unwrap();
    let migrating = tokio::spawn({
        let url = url.clone();
        async move { migrate(&url).await }
    });
    let mut claims = 0;
    while !migrating.is_finished() && claims < 500 {
        let taken: Vec<uuid::Uuid> =
            sqlx::query_scalar(CLAIM_BEFORE).fetch_all(&mut before).await.unwrap();
        claims += 1;
        for id in taken {
            sqlx::query(SETTLE_BEFORE).bind(id).execute(&mut before).await.unwrap();
        }
    }
    migrating.await.unwrap().unwrap();
    let count = async |what: &str, connection: &mut PgConnection| -> i64 {
        let sql = format!("SELECT count(*) FROM {what}");
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
    };
    assert_eq!(count(WRONG, &mut before).await, 0);

    // Beside the new one: what it finishes is finished, and what it leaves is taken over.
    let taken: Vec<uuid::Uuid> =
        sqlx::query_scalar(CLAIM_BEFORE).fetch_all(&mut before).await.unwrap();
    sqlx::query(SETTLE_BEFORE).bind(taken[0]).execute(&mut before).await.unwrap();
    assert_eq!(count(WRONG, &mut before).await, 0);
    let by_hand = "UPDATE outbox_events SET status = 'PENDING' WHERE id = $1";
    sqlx::query(by_hand).bind(taken[0]).execute(&mut before).await.unwrap();
    assert_eq!(count(WRONG, &mut before).await, 0, "and what a hand takes back is open again");
    let age = "UPDATE outbox_events SET locked_until = now() - interval '1 s' \
               WHERE locked_by = 'before'";
    sqlx::query(age).execute(&mut before).await.unwrap();
    let store = open(&url, StoreOptions::default()).await.unwrap();
    let left = count("outbox_events WHERE status = 'PROCESSING'", &mut before).await;
    assert_eq!(left, 3 + 2);
    assert_eq!(store.take_over_lost_leases(1_000).await.unwrap(), 5);
    assert_eq!(store.promote_due(1_000).await.unwrap(), 6);
    let open_ones = count("outbox_events WHERE status <> 'DONE'", &mut before).await;
    let request = Claim {
        host: &HostId::from_text("after".into()),
        event_type: &"A".parse().unwrap(),
        limit: 1_000,
        lease_for: Duration::from_secs(60),
        ordered_among: &[],
    };
    let mut found = 0;
    loop {
        let claimed = store.claim(request).await.unwrap().len();
        found += claimed;
        if claimed == 0 {
            break;
        }
    }
    assert_eq!(i64::try_from(found).unwrap(), open_ones);
    store.close().await;
}
