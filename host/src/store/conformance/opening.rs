use std::sync::Arc;

use super::on_both_stores;
use super::world::World;
use crate::store::{OpenError, Store, StoreFault, StoreOptions, StoreUrl, open};

on_both_stores!(
    opening_again_finds_everything_and_migrates_nothing,
    a_newer_schema_is_refused,
    a_changed_migration_is_refused,
    many_that_open_at_once_migrate_once,
);

async fn opened(url: &StoreUrl) -> Result<Arc<dyn Store>, OpenError> {
    open(url, StoreOptions::default()).await
}

async fn opening_again_finds_everything_and_migrates_nothing(world: &World) {
    let withdrawal = world.accept().await;
    let migrations = world.count("_sqlx_migrations").await;
    world.store.close().await;
    let store = opened(&world.url).await.unwrap();
    assert_eq!(store.withdrawal(withdrawal.id).await.unwrap(), Some(withdrawal));
    assert_eq!(world.count("_sqlx_migrations").await, migrations);
    store.close().await;
}

async fn a_newer_schema_is_refused(world: &World) {
    world
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
             execution_time) SELECT 9999, 'later', success, checksum, 0 FROM _sqlx_migrations \
             WHERE version = 1",
        )
        .await
        .unwrap();
    let refused = opened(&world.url).await.err().unwrap();
    assert_eq!(refused, OpenError::NewerSchema { version: 9999 });
}

async fn a_changed_migration_is_refused(world: &World) {
    let change = "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 1";
    world.execute(change).await.unwrap();
    let refused = opened(&world.url).await.err().unwrap();
    assert_eq!(refused, OpenError::ChangedMigration { version: 1 });
}

async fn many_that_open_at_once_migrate_once(world: &World) {
    let url = match &world.url {
        StoreUrl::Sqlite(path) => StoreUrl::Sqlite(path.with_file_name("new.db")),
        StoreUrl::Postgres(_) => super::cluster::new_database().await.unwrap().parse().unwrap(),
    };
    let opens = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            open(&url, StoreOptions { connections_max: 2, ..StoreOptions::default() }).await
        })
    });
    for task in opens.collect::<Vec<_>>() {
        task.await.unwrap().unwrap().close().await;
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tide.db");
    let url = StoreUrl::Sqlite(path.clone());
    std::fs::write(&path, "this is no database, and longer than a header is".repeat(50)).unwrap();
    let before = std::fs::read(&path).unwrap();
    let refused = opened(&url).await.err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn damage_inside_a_small_file_is_found() {
    let world = World::sqlite().await;
    for _ in 0..50 {
        world.accept().await;
    }
    world.close().await;
    let StoreUrl::Sqlite(path) = &world.url else { panic!() };
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xa5);
    std::fs::write(path, bytes).unwrap();
    let refused = opened(&world.url).await.err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[tokio::test]
async fn an_empty_file_is_no_new_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tide.db");
    std::fs::write(&path, "").unwrap();
    let refused = opened(&StoreUrl::Sqlite(path.clone())).await.err().unwrap();
    assert_eq!(refused, OpenError::Damaged { cause: "it is empty".into() });
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
}

#[tokio::test]
async fn a_log_without_its_file_is_no_new_store() {
    let world = World::sqlite().await;
    world.accept().await;
    let StoreUrl::Sqlite(path) = &world.url else { panic!() };
    let wal = path.with_file_name("tide.db-wal");
    let (copy, left) = (path.with_file_name("copy.db"), path.with_file_name("copy.db-wal"));
    std::fs::copy(&wal, &left).unwrap();
    let before = std::fs::read(&left).unwrap();
    let refused = opened(&StoreUrl::Sqlite(copy.clone())).await.err().unwrap();
    assert_eq!(refused, OpenError::LeftBehind { left: left.clone() });
    assert!(!copy.exists());
    assert_eq!(std::fs::read(&left).unwrap(), before);
    world.close().await;
}

#[tokio::test]
async fn a_file_that_was_removed_takes_nothing_more() {
    let world = World::sqlite().await;
    world.accept().await;
    let StoreUrl::Sqlite(path) = &world.url else { panic!() };
    let aside = path.with_file_name("aside.db");
    std::fs::rename(path, &aside).unwrap();
    let refused = world.store.accept_withdrawal(super::world::acceptance("gone")).await;
    assert_eq!(refused.unwrap_err().fault(), Some(StoreFault::Gone));
    assert_eq!(world.store.ping().await.unwrap_err().fault(), Some(StoreFault::Gone));
    assert!(!path.exists(), "no new file is made");
    std::fs::rename(&aside, path).unwrap();
    world.accept().await;
    world.store.ping().await.unwrap();
    world.close().await;
}

#[tokio::test]
async fn a_locked_file_is_refused() {
    let world = World::sqlite().await;
    let super::world::Db::Sqlite(db) = &world.db else { panic!() };
    let mut other = db.acquire().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *other).await.unwrap();
    let refused = opened(&world.url).await.err().unwrap();
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    sqlx::query("ROLLBACK").execute(&mut *other).await.unwrap();
    drop(other);
    world.close().await;
}

#[tokio::test]
async fn a_folder_that_is_missing_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::Sqlite(folder.path().join("no/tide.db"));
    assert!(matches!(opened(&url).await, Err(OpenError::Path { .. })));
    let url: StoreUrl = "postgres://nobody@127.0.0.1:1/x".parse().unwrap();
    assert!(matches!(opened(&url).await, Err(OpenError::Unreachable { .. })));
}

#[tokio::test]
async fn the_file_keeps_what_it_was_promised_to_keep() {
    let world = World::sqlite().await;
    let super::world::Db::Sqlite(db) = &world.db else { panic!() };
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(db).await.unwrap();
    assert_eq!(mode, "wal");
    world.store.ping().await.unwrap();
    world.close().await;
}
