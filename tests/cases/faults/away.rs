//! A store that goes away under a working host, or is not there yet when it starts.

use std::time::Duration;

use sqlx::{Connection, Executor};
use tidegate_tests::command_line::tidegate;
use tidegate_tests::eventually::eventually;
use tidegate_tests::host::Host;
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::process::Signal;

use super::database::{Database, Options, PASSWORD};
use super::scene::Scene;

const SAID_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_stopped_or_crashes_is_told_waited_for_and_found_again() {
    let _shared = machine::shared().await;
    let installation = Installation::new();
    let Some(mut database) = Database::start(installation.path(), Options::default()).await else {
        return;
    };
    let mut scene = Scene::start(installation.with(&database.store(""))).await;
    assert_eq!(scene.is_ready().await.json()["wakeups"], "listening");
    scene.submit().await;
    for signal in [Signal::Int, Signal::Quit] {
        // In the middle of its work.
        scene.submit().await;
        database.stop(signal).await;
        scene.is_refused("store").await;
        scene.is_not_ready("The store cannot be reached.").await;
        let order = scene.submit_through();
        let (_, ()) = tokio::join!(order, database.start_again());
        scene.is_ready().await;
        scene.submit().await;
    }
    eventually("it listens again", SAID_WITHIN, async || {
        let ready = scene.is_ready().await;
        if ready.json()["wakeups"] == "listening" { Ok(()) } else { Err(ready.text) }
    })
    .await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_becomes_read_only_is_told_and_left_for_its_successor() {
    let _shared = machine::shared().await;
    let installation = Installation::new();
    let Some(database) = Database::start(installation.path(), Options::default()).await else {
        return;
    };
    let mut scene = Scene::start(installation.with(&database.store(""))).await;
    scene.submit().await;
    // What a failover looks like: connections are cut, and the next ones find a server that only
    // answers queries.
    database.execute(&["ALTER DATABASE tidegate SET default_transaction_read_only = on"]).await;
    database.terminate_host().await;
    scene.is_refused("The store can only be read.").await;
    scene.is_not_ready("The store can only be read.").await;
    // Connections that were made meanwhile live, and stay read-only: whoever keeps them never comes
    // back.
    let mut admin = database.admin("postgres").await;
    let reset = "ALTER DATABASE tidegate RESET default_transaction_read_only";
    admin.execute(reset).await.unwrap();
    // Each of them is met once more at most.
    for _ in 0..12 {
        scene.submit_through().await;
    }
    scene.is_ready().await;
    for _ in 0..12 {
        scene.submit().await;
    }
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_waits_for_a_postgres_that_starts_later_and_says_so() {
    let _shared = machine::shared().await;
    let installation = Installation::new();
    let Some(mut database) = Database::start(installation.path(), Options::default()).await else {
        return;
    };
    database.stop(Signal::Int).await;
    let installation = installation.with(&database.store("wait = \"10m\""));
    let config = installation.write();
    let said = installation.path().join("host-1.err");
    let start = async {
        eventually("the host says what it waits for", SAID_WITHIN, async || {
            let log = std::fs::read_to_string(&said).unwrap_or_default();
            let waits = log.contains("waiting for the store") && log.contains("cannot be reached");
            if waits { Ok(()) } else { Err(log) }
        })
        .await;
        database.start_again().await;
    };
    let (mut host, ()) = tokio::join!(Host::serve(installation.path()), start);
    assert!(!host.log().contains(PASSWORD), "{}", host.log());
    assert_eq!(host.stop(Signal::Term).await, 0);

    // What waiting does not change is told at once, with what to do.
    let refused = |why: &'static [&'static str]| {
        let ended = tidegate(&["serve", "--config", &config.display().to_string()]);
        assert_eq!(ended.code, 1, "{ended:?}");
        for part in why {
            assert!(ended.err.contains(part), "{part}: {ended:?}");
        }
        assert!(!ended.err.contains(PASSWORD), "{ended:?}");
    };
    database.execute(&["ALTER ROLE tidegate NOLOGIN"]).await;
    refused(&["refuses this user", "tidegate@127.0.0.1"]);
    database.execute(&["ALTER ROLE tidegate LOGIN"]).await;
    let mut admin = database.admin("postgres").await;
    admin.execute("ALTER DATABASE tidegate RENAME TO aside").await.unwrap();
    refused(&["no such database", "tidegate@127.0.0.1"]);
    database.stop(Signal::Int).await;

    let text = std::fs::read_to_string(&config).unwrap().replace("\"10m\"", "\"0s\"");
    std::fs::write(&config, text).unwrap();
    refused(&["cannot be reached", "start the store"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_waits_for_a_file_that_is_locked_and_refuses_it_when_the_time_is_over() {
    let _shared = machine::shared().await;
    let installation =
        Installation::new().with("[store]\nurl = \"sqlite:tidegate.db\"\nwait = \"6s\"");
    let config = installation.write().display().to_string();
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(installation.database())
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let ended = tidegate(&["serve", "--config", &config]);
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in ["locked by another process", "waiting for the store", "tidegate.db"] {
        assert!(ended.err.contains(part), "{part}: {ended:?}");
    }
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    let (mut host, _) = installation.serve().await;
    assert_eq!(host.stop(Signal::Term).await, 0);
}
