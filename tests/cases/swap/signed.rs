//! A host that loads only what a listed key signed, with the real minisign.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::skip::skip;

use super::scene::{PLUGIN, Scene, wasm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_a_listed_key_signed_is_loaded() {
    let _shared = machine::shared().await;
    if Command::new("minisign").arg("-v").output().is_err() {
        skip("minisign is not installed", "apt-get install minisign");
        return;
    }
    let keys = tempfile::tempdir().unwrap();
    let trusted = generate(keys.path(), "trusted");
    let _ = generate(keys.path(), "stranger");
    let section = format!("[plugins]\nrequire_signature = [\"{trusted}\"]");
    let scene = Scene::of(Installation::new().with_sqlite().with(&section)).await;
    rejected(&scene, "unsigned", "the component is not signed").await;

    sign(keys.path(), "stranger", &scene.file("component.wasm"));
    rejected(&scene, "unknown key", "which this host does not trust").await;

    sign(keys.path(), "trusted", &scene.file("component.wasm"));
    scene.shows("signed by a listed key", |it| it["state"] == "live").await;
    let live = scene.live().await;

    // Another component beside the signature of this one.
    let partial = scene.installation.path().join("partial");
    fs::write(&partial, wasm(1).await).unwrap();
    fs::rename(&partial, scene.file("component.wasm")).unwrap();
    rejected(&scene, "tampered", "does not fit the component").await;
    assert_eq!(scene.live().await, live, "what was live stays so");
    let logged = scene.host.log();
    assert!(logged.contains("the component's signature holds"), "{logged}");
}

async fn rejected(scene: &Scene, what: &str, said: &str) {
    scene
        .shows(what, |it| {
            it["state"] == "rejected"
                && it["plugin"].as_str().is_none_or(|name| name == PLUGIN)
                && it["reason"].as_str().is_some_and(|reason| reason.contains(said))
        })
        .await;
}

/// Makes a pair of keys, and gives the public one.
fn generate(folder: &Path, name: &str) -> String {
    let (public, secret) = (folder.join(format!("{name}.pub")), folder.join(format!("{name}.key")));
    run(Command::new("minisign").args(["-G", "-W", "-p"]).arg(&public).arg("-s").arg(secret));
    let text = fs::read_to_string(public).unwrap();
    text.lines().nth(1).expect("the key is the second line").to_owned()
}

fn sign(folder: &Path, name: &str, file: &Path) {
    let secret = folder.join(format!("{name}.key"));
    run(Command::new("minisign").args(["-S", "-W", "-s"]).arg(secret).arg("-m").arg(file));
}

fn run(command: &mut Command) {
    let ended = command.stdin(Stdio::null()).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}
