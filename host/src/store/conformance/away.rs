//! Postgres, when it does not answer: what is given up must not stay in the pool.

use std::time::{Duration, Instant};

use super::world::{Db, World};
use crate::domain::{EventId, WithdrawalId};
use crate::store::{StoreFault, StoreOptions, open};

const STUCK_FOR: Duration = Duration::from_millis(200);
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
    let in_transaction = store.event(EventId::generate());
    assert!(tokio::time::timeout(STUCK_FOR, in_transaction).await.is_err());
    let statement = store.promote_due(1);
    assert!(tokio::time::timeout(STUCK_FOR, statement).await.is_err());

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
