//! Candidates that must never become live, as operators see them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::json;
use tidegate_tests::command_line::ask;
use tidegate_tests::machine;
use tidegate_tests::manifest::Manifest;

use super::scene::{LIVE_WITHIN, PLUGIN, Scene, wasm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_candidate_is_rejected_with_its_reason_while_the_old_release_goes_on() {
    let _shared = machine::shared().await;
    let scene = Scene::start().await;
    let live = scene.live().await.unwrap();
    let file = scene.file("component.wasm");
    let good = wasm(1).await;
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 0x55;
    flipped[100..200].fill(0xff);
    let cases: [(&str, &[u8], &str); 3] = [
        ("truncated", &good[..good.len() / 2], "does not validate"),
        ("with flipped bytes", &flipped, "does not validate"),
        ("a core module", b"\0asm\x01\0\0\0", "it is a core module; build it for wasm32-wasip2"),
    ];
    for (what, bytes, said) in cases {
        fs::write(&file, bytes).unwrap();
        assert_rejected(&scene, what, said).await;
    }
    File::create(&file).unwrap().set_len(200 << 20).unwrap();
    assert_rejected(&scene, "200 MB", "it has more than 67108864 bytes").await;
    let outside = scene.installation.path().join("outside.wasm");
    fs::write(&outside, &good).unwrap();
    fs::remove_file(&file).unwrap();
    symlink(&outside, &file).unwrap();
    assert_rejected(&scene, "a link out of the folder", "outside of the folder of plugins").await;

    let seen = ask(&scene.api, &["plugin", "list"]);
    assert_eq!(seen.code, 0, "{seen:?}");
    assert!(
        seen.out.contains("rejected") && seen.out.contains("outside of the folder"),
        "{seen:?}"
    );
    assert_eq!(scene.live().await, Some(live.clone()), "what was live stays so");
    let event = scene.submit("event", &[json!({ "do": "settings" })]).await;
    let event = scene.api.event_reaches(&event[0], "DONE", LIVE_WITHIN).await;
    assert_eq!(event["event"]["release_digest"], json!(live.0));

    fs::remove_file(&file).unwrap();
    fs::write(&file, &good).unwrap();
    scene
        .shows("a good one goes live", |it| {
            it["state"] == "live" && it["release_digest"] != json!(live.0)
        })
        .await;
    assert_eq!(scene.plugins().await.len(), 1, "and nothing is said of the rejected ones");
}

async fn assert_rejected(scene: &Scene, what: &str, said: &str) {
    scene
        .shows(what, |it| {
            it["state"] == "rejected" && it["reason"].as_str().unwrap_or_default().contains(said)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_that_arrives_in_pieces_is_live_when_it_is_whole_and_not_before() {
    let _shared = machine::shared().await;
    let scene = Scene::start().await;
    let mut last = scene.live().await.unwrap();
    for (variant, pieces) in [(1, 1), (2, 10), (3, 100)] {
        let bytes = wasm(variant).await;
        let file = scene.file("component.wasm");
        let mut open = File::create(&file).unwrap();
        for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
            open.write_all(piece).unwrap();
            drop(open);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(scene.live().await.as_ref(), Some(&last), "{pieces} pieces");
            open = OpenOptions::new().append(true).open(&file).unwrap();
        }
        drop(open);
        let whole = scene.shows("the whole one goes live", |it| {
            it["state"] == "live" && it["release_digest"] != json!(last.0)
        });
        let whole = whole.await;
        last = scene.live().await.unwrap();
        assert_eq!(whole["release_digest"], json!(last.0));
    }
    let log = scene.host.log();
    assert!(!log.contains("rejected"), "nothing was called bad that was only late:\n{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_claims_anothers_name_or_route_is_rejected_at_the_start_and_later() {
    let _shared = machine::shared().await;
    let installation = tidegate_tests::installation::Installation::new().with_sqlite();
    installation
        .add(&Manifest::shipped("noop").at_top("handles", vec!["HOSTILE"]).named("late"))
        .await;
    let scene = Scene::of(installation).await;
    let rejected = scene.shows("the later of two", |it| it["state"] == "rejected").await;
    assert_eq!(rejected["plugin"], "late");
    let reason = rejected["reason"].as_str().unwrap();
    assert!(reason.contains("both hostile and late handle HOSTILE"), "{reason}");
    let manifest = Manifest::shipped("noop").named(PLUGIN).text();
    let late = scene.installation.path().join("plugins/late/plugin.toml");
    fs::write(late, manifest).unwrap();
    assert_rejected(&scene, "of the same name", "both hold a plugin of the name hostile").await;
}
