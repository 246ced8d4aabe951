//! Clocks that jump by an hour, under a host and under the database, while events are in hand.
//!
//! Leases are judged by the database's clock alone. Where that one jumps ahead they are over early:
//! somebody takes over, and the token keeps the first from settling. Where it falls back they last
//! longer, and so does what was due: late, but not lost.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::bench::Bench;
use tidegate_tests::eventually::eventually;
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::skip::skip;

use super::database::{Database, Options};
use super::scene::Scene;

const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// What the partner takes for one answer while events must be in hand.
const SLOW_MS: u32 = 4_000;

/// A clock that a process is given by `libfaketime` and that the test sets.
struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// None, with a line that says so, where there is no such library.
    fn new(folder: &Path, name: &str) -> Option<Self> {
        let library = std::fs::read_dir("/usr/lib")
            .into_iter()
            .flatten()
            .flatten()
            .map(|machine| machine.path().join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.is_file());
        let Some(library) = library else {
            skip("libfaketime is not installed", "apt-get install faketime");
            return None;
        };
        let clock = Self { file: folder.join(name), library };
        clock.set("+0");
        Some(clock)
    }

    /// Away from the true time by so much, such as `+1h`.
    fn set(&self, offset: &str) {
        // In one step: a process that reads half of it would have the wrong time.
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{offset}\n")).unwrap();
        // A server reads it as another user.
        let public = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&next, public).unwrap();
        std::fs::rename(&next, &self.file).unwrap();
    }

    /// What makes a process use it.
    fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // How long something takes does not jump.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// A folder that a server of another user can read.
fn public_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new("chmod").arg("755").arg(folder.path()).status().unwrap().success());
    folder
}

/// A host on a Postgres whose clock the test sets; none where something is not installed.
async fn on_a_database_with_a_clock(
    folder: &tempfile::TempDir,
) -> Option<(Clock, Database, Scene)> {
    let clock = Clock::new(folder.path(), "database")?;
    let installation = Installation::new();
    let options = Options { environment: clock.environment(), ..Options::default() };
    let database = Database::start(installation.path(), options).await?;
    let scene = Scene::start(installation.with(&database.store(""))).await;
    Some((clock, database, scene))
}

/// Events that the partner is just being told of.
async fn in_hand(scene: &Scene) -> Vec<Value> {
    eventually("events are in hand", SEEN_WITHIN, async || {
        let path = "/v1/events?status=PROCESSING&event_type=PARTNER_SYNC_REQUESTED";
        let events = scene.api.all(path).await;
        if events.is_empty() { Err("none".to_owned()) } else { Ok(events) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hosts_clock_that_jumps_by_an_hour_both_ways_changes_nothing() {
    let _shared = machine::shared().await;
    let folder = public_folder();
    let Some(clock) = Clock::new(folder.path(), "host") else { return };
    let installation = Installation::new();
    let Some(database) = Database::start(installation.path(), Options::default()).await else {
        return;
    };
    let installation = installation.with(&database.store(""));
    let mut scene = Scene::start_with(installation, &clock.environment()).await;
    for offset in ["+1h", "+0", "-1h", "+0"] {
        scene.submit().await;
        clock.set(offset);
        scene.submit().await;
        scene.is_ready().await;
    }
    let events = scene.api.all("/v1/events").await;
    for event in events {
        let history = scene.api.get(&format!("/v1/events/{}", event["id"].as_str().unwrap())).await;
        assert_eq!(lost_leases(&history), 0, "no lease is judged by a host: {history:#}");
    }
    scene.ends_well().await;
}

fn lost_leases(history: &Value) -> usize {
    let attempts = history["attempts"].as_array().unwrap();
    attempts.iter().filter(|attempt| attempt["outcome"] == "lease lost").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databases_clock_that_jumps_ahead_ends_leases_early_and_fencing_holds() {
    let _shared = machine::shared().await;
    let folder = public_folder();
    let Some((clock, _database, mut scene)) = on_a_database_with_a_clock(&folder).await else {
        return;
    };
    scene.submit().await;
    let slow = json!({ "mode": "slow_ms", "ms": SLOW_MS });
    scene.bench.partner.misbehave(&slow).await;
    scene.submit().await;
    let events = in_hand(&scene).await;
    clock.set("+1h");
    // Its lease was over in a moment; it is taken over, and the first one's verdict counts for
    // nothing.
    let id = events[0]["id"].as_str().unwrap().to_owned();
    eventually("the lease is lost", SEEN_WITHIN, async || {
        let history = scene.api.get(&format!("/v1/events/{id}")).await;
        if lost_leases(&history) > 0 { Ok(()) } else { Err(history.to_string()) }
    })
    .await;
    scene.bench.partner.behave().await;
    let done = scene.api.event_reaches(&id, "DONE", SEEN_WITHIN).await;
    assert_eq!(done["event"]["interruption_count"], 1, "{done:#}");
    scene.submit().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_databases_clock_that_falls_back_makes_late_what_was_due_and_loses_nothing() {
    let _shared = machine::shared().await;
    let folder = public_folder();
    let Some((clock, _database, mut scene)) = on_a_database_with_a_clock(&folder).await else {
        return;
    };
    let slow = json!({ "mode": "slow_ms", "ms": SLOW_MS });
    scene.bench.partner.misbehave(&slow).await;
    scene.submit().await;
    let events = in_hand(&scene).await;
    clock.set("-1h");
    // The host that holds them settles them all the same: the token counts.
    let id = events[0]["id"].as_str().unwrap().to_owned();
    let history = scene.api.event_reaches(&id, "DONE", SEEN_WITHIN).await;
    assert_eq!(lost_leases(&history), 0, "{history:#}");
    // What is written from now on is due now.
    scene.bench.partner.behave().await;
    let later = scene.submit().await;
    scene.api.reaches(&later, "CONFIRMED", SEEN_WITHIN).await;
    // What waited for a moment that is now an hour away waits until the clock is right again.
    clock.set("+0");
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_under_sqlite_makes_early_or_late_and_loses_nothing() {
    let _shared = machine::shared().await;
    let folder = public_folder();
    let Some(clock) = Clock::new(folder.path(), "host") else { return };
    let bench = Bench::on(Installation::new().with_sqlite()).await;
    bench.add_plugins(|partner| partner).await;
    let mut scene = Scene::of(bench, &clock.environment()).await;
    let slow = json!({ "mode": "slow_ms", "ms": SLOW_MS });
    // Ahead in the end, so that everything is due that a fall made late.
    for offset in ["+1h", "+0", "-1h", "+1h"] {
        scene.bench.partner.misbehave(&slow).await;
        scene.submit().await;
        in_hand(&scene).await;
        clock.set(offset);
        scene.bench.partner.behave().await;
        scene.submit().await;
        scene.is_ready().await;
    }
    scene.ends_well().await;
}
