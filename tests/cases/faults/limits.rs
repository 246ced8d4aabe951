//! Time limits that an operator set in the database, and locks that somebody else holds.

use sqlx::Executor;
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;

use super::database::{Database, Options};
use super::scene::Scene;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_limits_of_the_database_that_fire_cost_an_attempt_of_nothing_and_undo_nothing() {
    let _shared = machine::shared().await;
    let installation = Installation::new();
    let Some(database) = Database::start(installation.path(), Options::default()).await else {
        return;
    };
    let mut scene = Scene::start(installation.with(&database.store(""))).await;
    scene.submit().await;
    for (limit, words) in [
        ("ALTER ROLE tidegate SET lock_timeout = '200ms'", "locked by another process"),
        ("ALTER ROLE tidegate SET statement_timeout = '300ms'", "does not answer in time"),
    ] {
        database.execute(&["ALTER ROLE tidegate RESET ALL", limit]).await;
        database.terminate_host().await;
        // In hand when the lock comes: its verdict must wait, and its next events too.
        scene.submit_through().await;
        let mut other = database.admin("tidegate").await;
        for table in ["idempotency_keys", "outbox_events", "withdrawals"] {
            let lock = format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE");
            other.execute(sqlx::AssertSqlSafe(lock)).await.unwrap();
            scene.is_refused(words).await;
            // A lock of one table is no reason to send callers away.
            scene.is_ready().await;
            other.execute("COMMIT").await.unwrap();
            scene.submit_through().await;
        }
    }
    database.execute(&["ALTER ROLE tidegate RESET ALL"]).await;
    database.terminate_host().await;
    scene.submit_through().await;
    let events = scene.api.all("/v1/events").await;
    for event in events {
        let attempts = event["attempt_count"].as_i64().unwrap();
        assert!(attempts <= 1, "what the store did is not the event's failure: {event}");
    }
    scene.ends_well().await;
}
