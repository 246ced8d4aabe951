//! A disk that is full.

use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::process::Signal;

use super::database::{Database, Options};
use super::scene::Scene;
use super::volume::Volume;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_sqlite_is_told_and_over_when_there_is_space_again() {
    let _shared = machine::shared().await;
    let Some(volume) = Volume::mount(16) else { return };
    let file = volume.path().join("tidegate.db");
    let store = format!("[store]\nurl = \"sqlite:{}\"", file.display());
    let mut scene = Scene::start(Installation::new().with(&store)).await;
    scene.submit().await;
    volume.fill();
    scene.is_refused("The store's disk is full.").await;
    scene.is_not_ready("The store's disk is full.").await;
    volume.free();
    scene.submit_through().await;
    scene.is_ready().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_tables_of_postgres_is_told_and_over_when_there_is_space_again() {
    let _shared = machine::shared().await;
    let Some(volume) = Volume::mount(96) else { return };
    let installation = Installation::new();
    let wal = tempfile::tempdir().unwrap();
    let options = Options {
        data: Some(volume.path().to_owned()),
        wal: Some(wal.path().to_owned()),
        ..Options::default()
    };
    let Some(mut database) = Database::start(installation.path(), options).await else { return };
    let mut scene = Scene::start(installation.with(&database.store(""))).await;
    scene.submit().await;
    volume.fill();
    scene.is_refused("The store's disk is full.").await;
    scene.is_not_ready("The store's disk is full.").await;
    volume.free();
    scene.submit_through().await;
    scene.is_ready().await;
    scene.ends_well().await;
    database.stop(Signal::Quit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_log_of_postgres_loses_nothing_that_was_answered() {
    let _shared = machine::shared().await;
    let Some(volume) = Volume::mount(24) else { return };
    let installation = Installation::new();
    let options = Options {
        settings: vec!["max_wal_size=4MB", "min_wal_size=2MB", "wal_recycle=off"],
        wal: Some(volume.path().to_owned()),
        ..Options::default()
    };
    let Some(mut database) = Database::start(installation.path(), options).await else { return };
    let mut scene = Scene::start(installation.with(&database.store(""))).await;
    scene.submit().await;
    volume.fill();
    // Postgres does not survive it: it goes down, in the middle of commits.
    database.use_up_the_log().await;
    scene.is_refused("store").await;
    scene.is_not_ready("The store").await;
    volume.free();
    database.stop(Signal::Quit).await;
    database.start_again().await;
    scene.submit_through().await;
    scene.is_ready().await;
    scene.ends_well().await;
    database.stop(Signal::Quit).await;
}
