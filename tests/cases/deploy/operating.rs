//! What people do with releases: approve, compare, roll back, disable, and repair what one failed.

use std::time::Duration;

use serde_json::Value;
use tidegate_tests::api::Api;
use tidegate_tests::eventually::eventually;
use tidegate_tests::machine;

use super::scene::{command, deploy, deployed, folder, installation, mark, mark_of, marker, state};

const DONE_WITHIN: Duration = Duration::from_secs(30);

/// Hands one event in, and waits until it is done.
async fn done(api: &Api, n: u64) -> Value {
    let id = mark(api, n..n + 1).await.unwrap().remove(0);
    api.event_reaches(&id, "DONE", DONE_WITHIN).await["event"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_asks_for_more_is_held_until_it_is_approved_and_a_rollback_takes_it_back() {
    let _shared = machine::shared().await;
    let installation = installation().with_sqlite();
    let (mut host, api) = installation.serve().await;
    let first = folder(installation.path(), "first", &marker("first", 0)).await;
    let more = marker("more", 0).calling("https://partner.example");
    let more = folder(installation.path(), "more", &more).await;

    // The first asks for its route, and nobody has granted anything yet.
    let held = deploy(&api, &first, &[]).await;
    assert_eq!(held.code, 1, "{held:?}");
    assert!(
        held.err.contains("marker #1 is held") && held.err.contains("handles MARK"),
        "{held:?}"
    );
    let approved =
        command(&api, &["plugin", "approve", "marker", "1", "--reason", "looked at"]).await;
    assert_eq!(approved.code, 0, "{approved:?}");
    assert_eq!(mark_of(&done(&api, 1).await), "first");

    let plan = deploy(&api, &more, &["--plan"]).await;
    let text = "  + may also call https://partner.example, private addresses too\n";
    assert!(plan.code == 0 && plan.out.contains(text), "{plan:?}");
    let held = deploy(&api, &more, &[]).await;
    assert!(held.code == 1 && held.err.contains("marker #2 is held"), "{held:?}");
    assert_eq!(mark_of(&done(&api, 2).await), "first", "the old one stays live");
    let diff = command(&api, &["plugin", "diff", "marker"]).await;
    assert!(
        diff.out.contains(text) && diff.out.contains("marker #2 waits for an approval"),
        "{diff:?}"
    );
    let approved = command(&api, &["plugin", "approve", "marker", "2", "--reason", "fine"]).await;
    assert_eq!(approved.code, 0, "{approved:?}");
    eventually("the second is live", DONE_WITHIN, async || {
        let state = state(&api, 2).await;
        if state == "LIVE" { Ok(()) } else { Err(state) }
    })
    .await;
    eventually("the host hands events to it", DONE_WITHIN, async || {
        let n = fastrand::u64(1_000..u64::from(u32::MAX));
        let mark = mark_of(&done(&api, n).await).to_owned();
        if mark == "more" { Ok(()) } else { Err(mark) }
    })
    .await;

    let plan = command(&api, &["plugin", "rollback", "marker", "--plan"]).await;
    assert!(plan.out.contains("marker #1 becomes live on all hosts at once"), "{plan:?}");
    let back =
        command(&api, &["plugin", "rollback", "marker", "--reason", "it calls others"]).await;
    assert_eq!((back.code, back.out.trim()), (0, "marker: #1 is live"), "{back:?}");
    eventually("the host is back", DONE_WITHIN, async || {
        let n = fastrand::u64(1_000..u64::from(u32::MAX));
        let mark = mark_of(&done(&api, n).await).to_owned();
        if mark == "first" { Ok(()) } else { Err(mark) }
    })
    .await;

    // A host that starts again has what is live before it takes anything.
    host.kill().await;
    host.start_again().await;
    let api = installation.api(&host);
    assert_eq!(mark_of(&done(&api, 3).await), "first");
    let history = command(&api, &["plugin", "history", "marker"]).await;
    for text in ["#2", "ROLLED_BACK", "approved", "rolled back", "it calls others", "test"] {
        assert!(history.out.contains(text), "{text}: {}", history.out);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disabled_plugins_events_wait_and_what_a_release_failed_is_replayed_in_one_command() {
    let _shared = machine::shared().await;
    let installation = installation().with_sqlite();
    let (_host, api) = installation.serve().await;
    let good = folder(installation.path(), "good", &marker("good", 0)).await;
    let bad = folder(installation.path(), "bad", &marker("bad", 100)).await;
    deployed(&api, &good).await;

    let off = ["plugin", "disable", "marker", "--reason", "the partner asked"];
    let disabled = command(&api, &off).await;
    assert_eq!((disabled.code, disabled.out.trim()), (0, "marker is disabled"), "{disabled:?}");
    eventually("no plugin is left", DONE_WITHIN, async || {
        let routes = api.get("/v1/routes").await.to_string();
        if routes.contains("\"plugin\":\"marker\"") { Err(routes) } else { Ok(()) }
    })
    .await;
    let id = mark(&api, 1..2).await.unwrap().remove(0);
    let waiting = api.get(&format!("/v1/events/{id}")).await;
    assert_eq!(waiting["event"]["status"], "PENDING");
    let on = ["plugin", "enable", "marker", "--reason", "the partner is back"];
    assert_eq!(command(&api, &on).await.code, 0);
    let event = api.event_reaches(&id, "DONE", DONE_WITHIN).await;
    assert_eq!(event["event"]["attempt_count"], 1, "waiting cost nothing: {event}");

    deployed(&api, &bad).await;
    let ids = mark(&api, 10..20).await.unwrap();
    for id in &ids {
        api.event_reaches(id, "FAILED", DONE_WITHIN).await;
    }
    let failures = command(&api, &["events", "failures", "--json"]).await.json();
    let group = &failures["items"][0];
    assert_eq!((&group["count"], &group["release_number"]), (&10.into(), &2.into()), "{failures}");
    assert_eq!((&group["release_state"], &group["reason"]), (&"LIVE".into(), &"bad fails".into()));
    let digest = group["release_digest"].as_str().unwrap();
    assert_eq!(command(&api, &["plugin", "rollback", "marker"]).await.code, 0);
    eventually("the host is back", DONE_WITHIN, async || {
        let routes = api.get("/v1/routes").await.to_string();
        if routes.contains(digest) { Err(routes) } else { Ok(()) }
    })
    .await;
    let replayed = command(&api, &["events", "replay", "--release", digest]).await;
    assert_eq!((replayed.code, replayed.out.trim()), (0, "10 events are PENDING"), "{replayed:?}");
    for id in &ids {
        let event = api.event_reaches(id, "DONE", DONE_WITHIN).await;
        assert_eq!(mark_of(&event["event"]), "good");
    }
}
