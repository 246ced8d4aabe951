//! Postgres, when it does not answer, and through a pooler: what is given up must not stay in the
//! pool, and migrations are one transaction.

use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, PgPool, SqlStr};

use super::cluster;
use super::world::{Db, World};
use crate::domain::{EventId, WithdrawalId};
use crate::store::postgres::in_one_transaction;
use crate::store::{OpenError, StoreFault, StoreOptions, migrate, open};

const FREED_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_do_not_keep_their_connections() {
    let Some(world) = World::postgres().await else { return };
    let options = StoreOptions { connections_max: 2, ..StoreOptions::default() };
    let store = open(&world.url, options).await.unwrap();
    let Db::Postgres(db) = &world.db else { panic!() };
    let mut other = db.begin().await.unwrap();
    sqlx::query("LOCK TABLE outbox_events").execute(&mut *other).await.unwrap();

    // One in a transaction, one that is a statement.
    give_up_when(1, db, store.event(EventId::generate())).await;
    give_up_when(2, db, store.promote_due(1)).await;

    let ping = store.ping().await.unwrap_err();
    assert_eq!(ping.fault(), Some(StoreFault::Busy), "{ping}");
    let begun = Instant::now();
    loop {
        // Of another table: it only needs a connection.
        match store.withdrawal(WithdrawalId::generate()).await {
            Ok(found) => break assert_eq!(found, None),
            Err(error) => {
                assert_eq!(error.fault(), Some(StoreFault::NoConnection), "{error}");
                assert!(begun.elapsed() < FREED_WITHIN, "still: {error}");
            }
        }
    }
    store.ping().await.unwrap();
    other.rollback().await.unwrap();
    store.event(EventId::generate()).await.unwrap();
    store.close().await;
    world.close().await;
}

/// Drops a call when so many sessions wait for a lock.
async fn give_up_when(sessions: i64, db: &PgPool, call: impl Future) {
    let stuck = async {
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(db)
            .await
            .unwrap();
            if waiting >= sessions {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = call => panic!("it did not wait"),
        stuck = tokio::time::timeout(FREED_WITHIN, stuck) => stuck.unwrap(),
    }
}

/// All of ours, and one that cannot be part of a transaction.
fn with_an_index() -> Vec<Migration> {
    let mut list = migrate::postgres();
    let index =
        "-- no-transaction\nCREATE INDEX CONCURRENTLY by_time ON outbox_events (updated_at)";
    let sql = SqlStr::from_static(index);
    list.push(Migration::new(9_000, "index".into(), MigrationType::Simple, sql, true));
    list
}

/// Keeps no statement prepared.
async fn as_behind_a_pooler(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    options.statement_cache_capacity(0).connect().await.unwrap()
}

#[tokio::test]
async fn migrations_in_one_transaction_make_a_new_schema_and_never_block_an_old_one() {
    let Some(url) = cluster::new_database().await else { return };
    let mut connection = as_behind_a_pooler(&url).await;
    in_one_transaction(&mut connection, with_an_index(), true).await.unwrap();
    // A repeat has nothing to do, and finds what it knows by its checksum.
    in_one_transaction(&mut connection, with_an_index(), true).await.unwrap();
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_time'::regclass";
    assert!(sqlx::query_scalar::<_, bool>(valid).fetch_one(&mut connection).await.unwrap());

    let Some(url) = cluster::new_database().await else { return };
    let mut connection = as_behind_a_pooler(&url).await;
    in_one_transaction(&mut connection, migrate::postgres(), true).await.unwrap();
    let refused = in_one_transaction(&mut connection, with_an_index(), true).await.unwrap_err();
    assert!(
        matches!(&refused, OpenError::Migration { cause } if cause.contains("9000")),
        "{refused}"
    );
}
