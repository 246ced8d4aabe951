use std::time::Duration;

use super::on_both_stores;
use super::world::World;
use crate::store::{ApprovedManifest, MANIFESTS_MAX, ReleaseNote};

on_both_stores!(
    a_manifest_is_approved_once_and_what_was_live_last_comes_first,
    manifests_without_end_are_not_kept_without_end,
);

fn digest(n: u32) -> String {
    format!("{n:064}")
}

async fn a_manifest_is_approved_once_and_what_was_live_last_comes_first(world: &World) {
    let store = &world.store;
    assert_eq!(store.approved_manifests("p").await.unwrap(), []);
    let note = ReleaseNote { reason: "looked at", by: "grace" };
    assert!(store.approve_manifest("p", &digest(1), note).await.unwrap());
    assert!(!store.approve_manifest("p", &digest(1), note).await.unwrap());
    for n in [2, 3] {
        store.keep_live_manifest("p", &digest(n), &format!("text {n}")).await.unwrap();
        world.age(Duration::from_secs(1)).await;
    }
    store.keep_live_manifest("p", &digest(2), "text 2").await.unwrap();
    store.keep_live_manifest("q", &digest(9), "text 9").await.unwrap();
    let known = |n: u32, text: Option<&str>| ApprovedManifest {
        digest: digest(n),
        manifest: text.map(str::to_owned),
    };
    let all = store.approved_manifests("p").await.unwrap();
    assert_eq!(all, [known(2, Some("text 2")), known(3, Some("text 3")), known(1, None)]);
    store.keep_live_manifest("p", &digest(1), "text 1").await.unwrap();
    assert_eq!(store.approved_manifests("p").await.unwrap()[0], known(1, Some("text 1")));
}

async fn manifests_without_end_are_not_kept_without_end(world: &World) {
    for n in 0..MANIFESTS_MAX + 3 {
        world.store.keep_live_manifest("p", &digest(n), "text").await.unwrap();
    }
    let kept = world.store.approved_manifests("p").await.unwrap();
    assert_eq!(kept.len(), MANIFESTS_MAX as usize);
}
