//! Too few connections: of the database's, and of the host's own.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tidegate_tests::eventually::eventually;
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;

use super::database::{Database, Options};
use super::scene::{Scene, assert_away};

const TAKEN_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_takes_no_more_connections_is_told_and_asked_again() {
    let _shared = machine::shared().await;
    let installation = Installation::new();
    let settings = vec!["max_connections=12", "superuser_reserved_connections=3"];
    let options = Options { settings, ..Options::default() };
    let Some(database) = Database::start(installation.path(), options).await else { return };
    let store = database.store("connections_max = 4");
    let mut scene = Scene::start(installation.with(&store)).await;
    scene.submit().await;
    // Others take every place that the host's connections leave when they are cut.
    let mut others: Vec<PgConnection> = Vec::new();
    eventually("others have every connection", TAKEN_WITHIN, async || {
        database.terminate_host().await;
        while let Ok(other) = database.connect().await {
            others.push(other);
        }
        // Nine, but for the superuser's three.
        if others.len() >= 9 { Ok(()) } else { Err(format!("{} are taken", others.len())) }
    })
    .await;
    scene.is_not_ready("The store takes no more connections.").await;
    scene.is_refused("No connection to the store could be had in time.").await;
    for other in others {
        other.close().await.unwrap();
    }
    scene.submit_through().await;
    scene.is_ready().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_exhausted_is_told_and_nothing_that_waited_is_lost() {
    let _shared = machine::shared().await;
    let installation = Installation::new();
    let Some(database) = Database::start(installation.path(), Options::default()).await else {
        return;
    };
    let store = database.store("connections_max = 3");
    let mut scene = Scene::start(installation.with(&store)).await;
    scene.submit().await;
    // Whatever writes an event, or takes one, waits here and keeps its connection.
    let mut other = database.admin("tidegate").await;
    other.execute("BEGIN; LOCK TABLE outbox_events IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waiting = scene.next_order();
    let waits = async {
        // The same request, sent while the first is in hand, and after it was given up.
        eventually("it is taken in the end", TAKEN_WITHIN, async || {
            let reply = scene.api.post(&waiting).await?;
            match reply.status {
                201 => Ok(()),
                503 => {
                    assert_away(&reply);
                    Err(reply.text)
                }
                409 => Err(reply.text),
                other => panic!("{other}: {}", reply.text),
            }
        })
        .await;
    };
    let frees = async {
        scene.is_not_ready("All of this host's connections to the store are in use.").await;
        other.execute("COMMIT").await.unwrap();
        scene.is_ready().await;
    };
    tokio::join!(waits, frees);
    // With its key it is still the same one.
    scene.submit().await;
    scene.ends_well().await;
}
