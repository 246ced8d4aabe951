//! SQLite's file: locked by somebody else, damaged, half gone.

use std::fs;
use std::path::Path;

use sqlx::Connection;
use tidegate_tests::command_line::{Ended, tidegate};
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::process::Signal;

use super::scene::Scene;

async fn open(file: &Path) -> sqlx::SqliteConnection {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    sqlx::SqliteConnection::connect_with(&options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_process_locks_is_told_and_waited_for() {
    let _shared = machine::shared().await;
    let mut scene = Scene::start(Installation::new().with_sqlite()).await;
    assert_eq!(scene.is_ready().await.json()["wakeups"], "polling");
    scene.submit().await;
    let mut other = open(&scene.bench.installation.database()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    // Longer than a write waits.
    scene.is_refused("The store is locked by another process.").await;
    scene.is_not_ready("The store is locked by another process.").await;
    let read = scene.api.try_get("/v1/withdrawals").await;
    assert!(read.is_ok(), "what is read waits for no writer: {read:?}");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    scene.submit_through().await;
    scene.is_ready().await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_moved_away_under_the_host_takes_nothing_more() {
    let _shared = machine::shared().await;
    let mut scene = Scene::start(Installation::new().with_sqlite()).await;
    scene.submit().await;
    let file = scene.bench.installation.database();
    let aside = file.with_file_name("aside.db");
    fs::rename(&file, &aside).unwrap();
    scene.is_refused("The store's file was removed or replaced").await;
    scene.is_not_ready("The store's file was removed or replaced").await;
    assert!(!file.exists(), "no new file is made");
    fs::rename(&aside, &file).unwrap();
    scene.submit_through().await;
    scene.is_ready().await;
    scene.ends_well().await;
}

/// What is refused, what it is told of, and what is left exactly as it was.
struct Damage {
    name: &'static str,
    make: fn(&Path),
    said: &'static [&'static str],
}

const DAMAGES: [Damage; 6] = [
    Damage {
        name: "no database",
        make: |file| fs::write(file, "this is no database at all\n".repeat(999)).unwrap(),
        said: &["damaged or no SQLite database", "restore it from a backup"],
    },
    Damage {
        name: "bytes flipped in the middle",
        make: |file| {
            let mut bytes = fs::read(file).unwrap();
            for page in bytes.chunks_mut(4096).skip(2) {
                page.iter_mut().take(64).for_each(|byte| *byte ^= 0xff);
            }
            fs::write(file, bytes).unwrap();
        },
        said: &["damaged or no SQLite database", "restore it from a backup"],
    },
    Damage {
        name: "cut off",
        make: |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        },
        said: &["damaged or no SQLite database", "restore it from a backup"],
    },
    Damage {
        name: "empty",
        make: |file| fs::write(file, "").unwrap(),
        said: &["it is empty", "restore it from a backup"],
    },
    Damage {
        name: "gone, its log left behind",
        make: |file| {
            fs::write(file.with_file_name("tidegate.db-wal"), "what was committed last").unwrap();
            fs::remove_file(file).unwrap();
        },
        said: &["the store's file is gone", "tidegate.db-wal", "Put the file back"],
    },
    Damage {
        name: "in a folder that is gone",
        make: |file| fs::remove_dir_all(file.parent().unwrap()).unwrap(),
        said: &["cannot be opened", "Its folder must be there"],
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_refused_with_its_name_and_a_remedy_and_never_replaced() {
    let _shared = machine::shared().await;
    let installation =
        Installation::new().with("[store]\nurl = \"sqlite:data/tidegate.db\"\nwait = \"1h\"");
    let (data, sound) = (installation.path().join("data"), installation.path().join("sound"));
    fs::create_dir(&data).unwrap();
    let (mut host, _) = installation.serve().await;
    assert!(host.log().contains("made a new, empty one"), "it is plain to see: {}", host.log());
    assert_eq!(host.stop(Signal::Term).await, 0);
    host.start_again().await;
    assert!(!host.log().contains("made a new, empty one"), "{}", host.log());
    assert_eq!(host.stop(Signal::Term).await, 0);
    fs::rename(&data, &sound).unwrap();

    let config = installation.path().join("tidegate.toml").display().to_string();
    for damage in DAMAGES {
        let _ = fs::remove_dir_all(&data);
        fs::create_dir(&data).unwrap();
        fs::copy(sound.join("tidegate.db"), data.join("tidegate.db")).unwrap();
        (damage.make)(&data.join("tidegate.db"));
        let before = contents(&data);
        let ended: Ended = tidegate(&["serve", "--config", &config]);
        let name = damage.name;
        assert_eq!(ended.code, 1, "{name}: {ended:?}");
        assert!(ended.err.contains("data/tidegate.db"), "{name}: {ended:?}");
        for part in damage.said {
            assert!(ended.err.contains(part), "{name}: {part}: {ended:?}");
        }
        assert_eq!(contents(&data), before, "{name}: it is left as it is");
    }
}

/// The files in a folder; what SQLite makes to look at them aside.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .filter(|(name, bytes)| {
            !(name.ends_with("-shm") || name.ends_with("-wal") && bytes.is_empty())
        })
        .collect();
    files.sort();
    files
}
