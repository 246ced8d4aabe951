//! A plugin that is taken away, and comes back.

use std::fs;

use serde_json::{Value, json};
use tidegate_tests::command_line::ask;
use tidegate_tests::eventually::eventually;
use tidegate_tests::machine;
use tidegate_tests::manifest::Manifest;

use super::scene::{LIVE_WITHIN, Scene, manifest, submit};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_retired_plugin_wait_visibly_and_go_on_when_it_is_back() {
    let _shared = machine::shared().await;
    let scene = Scene::start().await;
    let folder = scene.file("");
    let away = scene.installation.path().join("away");
    fs::rename(&folder, &away).unwrap();
    eventually("it is retired", LIVE_WITHIN, async || match scene.live().await {
        None => Ok(()),
        live => Err(format!("{live:?}")),
    })
    .await;
    let waiting = scene.submit("wait", &[json!({ "do": "settings" }), json!({ "do": "ok" })]).await;
    let route = |routes: &Value| {
        let items = routes["items"].as_array().unwrap();
        items.iter().find(|it| it["event_type"] == "HOSTILE").cloned()
    };
    let shown = eventually("they wait", LIVE_WITHIN, async || {
        let routes = scene.api.get("/v1/routes").await;
        let shown = route(&routes).filter(|it| it["pending"]["number"] == 2);
        shown.ok_or_else(|| routes.to_string())
    })
    .await;
    assert_eq!((&shown["no_route"], &shown["handlers"]), (&json!(true), &json!([])));
    let status = ask(&scene.api, &["status"]);
    assert!(status.out.contains("no route: no plugin on this host handles it"), "{status:?}");
    let event = scene.api.get(&format!("/v1/events/{}", waiting[0])).await;
    assert_eq!((&event["event"]["status"], &event["attempts"]), (&json!("PENDING"), &json!([])));

    fs::rename(&away, &folder).unwrap();
    for id in &waiting {
        let done = scene.api.event_reaches(id, "DONE", LIVE_WITHIN).await;
        assert_eq!(done["attempts"], json!([]), "waiting cost no attempt");
    }
    let routes = scene.api.get("/v1/routes").await;
    assert_eq!(route(&routes).unwrap()["no_route"], json!(false));
}

/// A manifest of the same component for one network.
fn of_network(name: &str, network: &str) -> Manifest {
    let select = toml::Table::from_iter([("network".to_owned(), network.into())]);
    manifest(0).named(name).at_top("select", select)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_no_plugin_selects_waits_visibly_and_goes_when_one_comes() {
    let _shared = machine::shared().await;
    let installation = tidegate_tests::installation::Installation::new().with_sqlite();
    for (name, network) in [("one", "eip155:1"), ("two", "eip155:2")] {
        installation.add(&of_network(name, network)).await;
    }
    let (_host, api) = installation.serve().await;
    let (folder, away) =
        (installation.path().join("plugins").join("one"), installation.path().join("away"));
    fs::rename(&folder, &away).unwrap();
    eventually("it is retired", LIVE_WITHIN, async || {
        let plugins = api.get("/v1/plugins").await;
        let mut live = plugins["items"].as_array().unwrap().iter();
        if live.any(|it| it["plugin"] == "one") { Err(plugins.to_string()) } else { Ok(()) }
    })
    .await;
    let ok = |network: &str| json!({ "do": "ok", "network": network });
    let ids = submit(&api, "both", &[ok("eip155:1"), ok("eip155:2")]).await;
    api.event_reaches(&ids[1], "DONE", LIVE_WITHIN).await;
    let shown = eventually("it waits", LIVE_WITHIN, async || {
        let shown = api.get(&format!("/v1/events/{}", ids[0])).await;
        if shown["event"]["waits_for"].is_string() { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    assert_eq!(shown["event"]["status"], "PENDING", "{shown:#}");
    assert_eq!(shown["event"]["waits_for"], "no route: a plugin that selects it");
    assert_eq!(shown["attempts"], json!([]));
    let routes = api.get("/v1/routes").await;
    assert_eq!(routes["items"][0]["unrouted"]["number"], 1, "{routes:#}");
    let status = ask(&api, &["status"]);
    assert!(status.out.contains("no route: no plugin on this host selects 1"), "{status:?}");

    fs::rename(&away, &folder).unwrap();
    let done = api.event_reaches(&ids[0], "DONE", LIVE_WITHIN).await;
    assert_eq!(done["attempts"], json!([]), "waiting cost no attempt");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_replaced_and_does_not_end_is_interrupted_after_the_drain_limit() {
    let _shared = machine::shared().await;
    let installation = tidegate_tests::installation::Installation::new()
        .with_sqlite()
        .with("[plugins]\ndrain = \"300ms\"");
    let scene = Scene::of(installation).await;
    let event = json!({ "do": "wait", "ms": 9_000, "then": "settings" });
    let id = scene.submit("slow", &[event]).await.remove(0);
    scene.shows("it is in hand", |it| it["calls_in_hand"] == 1).await;
    let manifest = scene.file("plugin.toml");
    let text = fs::read_to_string(&manifest).unwrap().replace("mark = 0", "mark = 7");
    fs::write(&manifest, text).unwrap();
    let history = eventually("it was interrupted", LIVE_WITHIN, async || {
        let history = scene.api.get(&format!("/v1/events/{id}")).await;
        let interrupted = history["attempts"].as_array().is_some_and(|it| !it.is_empty());
        if interrupted { Ok(history) } else { Err(history.to_string()) }
    })
    .await;
    assert_eq!(history["attempts"][0]["outcome"], "interrupted", "{history:#}");
    let reason = history["attempts"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("the drain limit is over"), "{reason}");
    assert_eq!(history["event"]["attempt_count"], 0, "an interruption is no attempt");
    let done = scene.api.event_reaches(&id, "DONE", LIVE_WITHIN).await;
    assert_eq!(done["event"]["detail"]["mark"], 7);
}
