//! SQLite's file itself: copied while it is in use, and with a log that stays small.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{Connection, SqliteConnection};

use super::world::{World, acceptance};
use crate::store::{BackupError, OpenError, StoreOptions, StoreUrl, audit, backup, open};

fn path_of(world: &World) -> PathBuf {
    let StoreUrl::Sqlite(path) = &world.url else { panic!() };
    path.clone()
}

fn files_in(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_of_one_moment_while_the_host_goes_on() {
    let world = World::sqlite().await;
    for _ in 0..200 {
        world.accept().await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (store, stop) = (Arc::clone(&world.store), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut accepted = 0;
            while !stop.load(Ordering::Relaxed) {
                let key = format!("busy-{accepted}");
                store.accept_withdrawal(acceptance(&key)).await.unwrap();
                accepted += 1;
            }
            accepted
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let mut copies = Vec::new();
    for n in 0..3 {
        let to = folder.path().join(format!("copy-{n}.db"));
        let bytes = backup(&world.url, &to, &mut |_| {}).await.unwrap();
        assert_eq!(bytes, std::fs::metadata(&to).unwrap().len());
        copies.push(to);
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writing.await.unwrap() > 0, "it went on meanwhile");
    world.close().await;
    assert_eq!(files_in(folder.path()), ["copy-0.db", "copy-1.db", "copy-2.db"]);
    let mut last = 0;
    for copy in copies {
        let url = StoreUrl::Sqlite(copy);
        let store = open(&url, StoreOptions::default()).await.unwrap();
        store.close().await;
        let request = crate::store::AuditRequest {
            flow: Some(crate::domain::Flow::default()),
            keep_finished: Some(None),
            ordered: None,
            hosts_run: true,
            examples_max: 5,
        };
        let audit = audit(&url, &request, &mut |_| {}).await.unwrap();
        assert_eq!(audit.violations(), 0, "{audit:#?}");
        let withdrawals = audit.checks[0].checked;
        assert!(withdrawals >= 200 && withdrawals >= last, "{withdrawals}");
        last = withdrawals;
    }
}

#[tokio::test]
async fn a_copy_takes_no_other_files_place_and_leaves_nothing_half_done() {
    let world = World::sqlite().await;
    world.accept().await;
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("copy.db");
    std::fs::write(&to, "precious").unwrap();
    let refused = backup(&world.url, &to, &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, BackupError::Exists { .. }), "{refused}");
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "precious");
    let nowhere = folder.path().join("none/copy.db");
    let refused = backup(&world.url, &nowhere, &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, BackupError::Write { .. }), "{refused}");
    let none = StoreUrl::Sqlite(folder.path().join("none.db"));
    let copy = folder.path().join("of-none.db");
    let refused = backup(&none, &copy, &mut |_| {}).await.unwrap_err();
    assert!(matches!(refused, BackupError::Open(OpenError::Path { .. })), "{refused}");
    assert_eq!(files_in(folder.path()), ["copy.db"]);
    world.close().await;
}

#[tokio::test]
async fn a_damaged_file_gives_no_copy() {
    let world = World::sqlite().await;
    for _ in 0..200 {
        world.accept().await;
    }
    world.close().await;
    let path = path_of(&world);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("copy.db");
    assert!(backup(&world.url, &to, &mut |_| {}).await.is_err());
    assert_eq!(files_in(folder.path()), [""; 0]);
}

/// Readers that overlap, so that there is never a moment without one.
async fn read_without_a_gap(path: &Path, stop: &AtomicBool) {
    let url = format!("sqlite:{}", path.display());
    let mut readers = [
        SqliteConnection::connect(&url).await.unwrap(),
        SqliteConnection::connect(&url).await.unwrap(),
    ];
    let look = "SELECT count(*) FROM withdrawals";
    sqlx::raw_sql("BEGIN").execute(&mut readers[0]).await.unwrap();
    sqlx::query(look).execute(&mut readers[0]).await.unwrap();
    let mut next = 1;
    while !stop.load(Ordering::Relaxed) {
        sqlx::raw_sql("BEGIN").execute(&mut readers[next]).await.unwrap();
        sqlx::query(look).execute(&mut readers[next]).await.unwrap();
        next = 1 - next;
        sqlx::raw_sql("COMMIT").execute(&mut readers[next]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_does_not_grow_for_ever_under_readers_that_overlap() {
    let most = crate::store::sqlite::LOG_BYTES_MAX;
    let world = World::sqlite().await;
    let path = path_of(&world);
    let log = PathBuf::from(format!("{}-wal", path.display()));
    let stop = Arc::new(AtomicBool::new(false));
    let reading = {
        let (path, stop) = (path.clone(), Arc::clone(&stop));
        tokio::spawn(async move { read_without_a_gap(&path, &stop).await })
    };
    let payload = format!("{{\"x\": \"{}\"}}", "y".repeat(200_000));
    let (mut written, mut commits, mut small) = (0, 0_u32, 0_u32);
    // Many times what the log may hold.
    while written < 8 * most {
        let mut request = acceptance(&written.to_string());
        for event in &mut request.events {
            event.payload.clone_from(&payload);
        }
        world.store.accept_withdrawal(request).await.unwrap();
        written += 3 * payload.len() as u64;
        commits += 1;
        small += u32::from(std::fs::metadata(&log).unwrap().len() < 2 * most);
    }
    stop.store(true, Ordering::Relaxed);
    reading.await.unwrap();
    // A reader that was held up for long may have let it grow for a while, but not for most of it.
    assert!(small > commits / 4 * 3, "after {small} of {commits} commits the log was small");
    world.close().await;
}
