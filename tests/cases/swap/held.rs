//! A plugin in the folder whose new manifest asks for more.

use std::fs;

use tidegate_tests::command_line::ask;
use tidegate_tests::machine;

use super::scene::{Scene, manifest};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_in_the_folder_that_asks_for_more_is_approved_by_its_digest() {
    let _shared = machine::shared().await;
    let scene = Scene::start().await;
    let before = scene.live().await.unwrap();
    let wider = manifest(1).with("limits", "memory", "64MiB").text();
    fs::write(scene.file("plugin.toml"), wider).unwrap();
    let held = scene.shows("it is held", |it| it["state"] == "held").await;
    let reason = held["reason"].as_str().unwrap();
    assert!(reason.contains("limits.memory 32MiB → 64MiB"), "{reason}");
    assert_eq!(scene.live().await, Some(before), "the old one stays live");
    let listed = ask(&scene.api, &["plugin", "list"]);
    assert!(listed.out.contains("limits.memory 32MiB → 64MiB"), "{listed:?}");

    let approved = ask(&scene.api, &["plugin", "approve", "hostile", "--reason", "looked at"]);
    assert_eq!((approved.code, approved.err.as_str()), (0, ""), "{approved:?}");
    let digest = held["manifest"]["digest"].clone();
    let is_live =
        |it: &serde_json::Value| it["state"] == "live" && it["manifest"]["digest"] == digest;
    scene.shows("it is live", is_live).await;
    assert!(scene.plugins().await.iter().all(|it| it["state"] != "held"));
    let again = ask(&scene.api, &["plugin", "approve", "hostile", "--reason", "again"]);
    assert_eq!(again.code, 1, "nothing is held: {again:?}");
}
