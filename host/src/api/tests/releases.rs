//! Releases over HTTP: what is taken, what is refused, and what a plan tells.

use std::collections::BTreeSet;

use super::super::openapi::DOCUMENT;
use super::*;
use crate::domain::ReleaseState;

const MANIFEST: &str = "name = \"p\"\nhandles = [\"A\"]\n";

fn part(name: &str, content: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{content}\r\n")
}

fn deploy_as(token: &str, query: &str, parts: &[String]) -> Request<Body> {
    let mut request = request(
        "PUT",
        &format!("/v1/plugins/p/releases{query}"),
        format!("{}--b--", parts.concat()),
    );
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert("content-type", "multipart/form-data; boundary=b".parse().unwrap());
    request
}

fn deploy(query: &str, manifest: &str, component: &str) -> Request<Body> {
    deploy_as("deploy", query, &[part("manifest", manifest), part("component", component)])
}

fn control(path: &str) -> Request<Body> {
    let mut request = request("POST", path, r#"{"reason": "looked at"}"#);
    request.headers_mut().insert("content-type", "application/json".parse().unwrap());
    request
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

fn schema(name: &str) -> BTreeSet<String> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    keys(&document["components"]["schemas"][name]["properties"])
}

#[tokio::test]
async fn the_first_release_is_held_and_says_what_it_asks_for() {
    let host = host();
    let plan = host.send(deploy("?plan=true", MANIFEST, "one")).await;
    assert_eq!(plan.status, 200, "{}", plan.text);
    assert_eq!(plan.json()["held"], true);
    assert_eq!(plan.json()["differences"], json!([{"text": "handles A", "widens": true}]));
    assert_eq!(keys(&plan.json()), schema("ReleasePlan"));
    assert!(host.store.rows.lock().unwrap().releases.is_empty(), "a plan changes nothing");

    let reply = host.send(deploy("?canary=5%25&canary_events=10", MANIFEST, "one")).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!((&reply.json()["state"], &reply.json()["number"]), (&json!("HELD"), &json!(1)));
    assert_eq!(reply.json()["reason"], "handles A");
    assert_eq!(reply.json()["canary"], json!({"share": "5%", "events": 10}));
    assert_eq!(reply.json()["created_by"], "deploy");
    assert_eq!(keys(&reply.json()), schema("Release"));
    let again = host.send(deploy("", MANIFEST, "one")).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (200, "true"));
}

#[tokio::test]
async fn who_deploys_does_not_approve() {
    let host = host();
    host.send(deploy("", MANIFEST, "one")).await;
    let path = "/v1/plugins/p/releases/1/approve";
    let mut by_deployer = control(path);
    by_deployer.headers_mut().insert("authorization", "Bearer deploy".parse().unwrap());
    assert_eq!(host.send(by_deployer).await.status, 403);
    let parts = [part("manifest", MANIFEST), part("component", "x")];
    assert_eq!(host.send(deploy_as("operate", "", &parts)).await.status, 403);
    let reply = host.send(control(path)).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["state"]), (200, &json!("PREPARING")));
    let reply = host.send(control(path)).await;
    assert_eq!(reply.json()["type"], "/problems/release-conflict");
    assert_eq!(
        reply.json()["detail"],
        "p #1 is PREPARING; only a HELD release or a SHADOW is approved."
    );
}

#[tokio::test]
async fn what_asks_for_no_more_than_the_live_one_is_not_held() {
    let host = host();
    host.send(deploy("", MANIFEST, "one")).await;
    host.store.rows.lock().unwrap().releases[0].state = ReleaseState::Live;
    let reply = host.send(deploy("", MANIFEST, "two")).await;
    assert_eq!(reply.json()["state"], "PREPARING", "{}", reply.text);
    let more = format!("{MANIFEST}[grants]\nhttp = [\"https://evil.example\"]\n");
    let reply = host.send(deploy("", &more, "three")).await;
    assert_eq!(reply.json()["state"], "HELD");
    assert_eq!(reply.json()["reason"], "may also call https://evil.example");
    let difference = host.get("/v1/plugins/p/difference?from=1&to=3").await.json();
    assert_eq!(difference["differences"][0]["text"], "may also call https://evil.example");
}

#[tokio::test]
async fn a_shadow_needs_a_live_release_and_an_approval() {
    let host = host();
    let reply = host.send(deploy("?shadow=20", MANIFEST, "one")).await;
    assert_eq!(reply.json()["type"], "/problems/release-conflict");
    assert_eq!(
        reply.json()["detail"],
        "p has no live release that another one could be the shadow of."
    );
    host.send(deploy("", MANIFEST, "one")).await;
    host.store.rows.lock().unwrap().releases[0].state = ReleaseState::Live;
    let plan = host.send(deploy("?shadow=20&plan=true", MANIFEST, "two")).await.json();
    let step = plan["steps"].as_array().unwrap().last().unwrap().to_string();
    assert!(step.contains("20% of the aggregates are copied to it, 1000 attempts"), "{step}");
    let reply = host.send(deploy("?shadow=20&shadow_events=7", MANIFEST, "two")).await;
    assert_eq!(reply.json()["shadow"], json!({"share": "20%", "events": 7}), "{}", reply.text);
    assert_eq!(reply.json()["canary"], Value::Null);
    host.store.rows.lock().unwrap().releases[1].state = ReleaseState::Shadow;
    let detail = host.get("/v1/plugins/p/releases/2").await.json();
    let report = &detail["shadow_report"];
    assert_eq!(keys(report), schema("ShadowReport"));
    assert_eq!(
        (&report["copies"], &report["same"], &report["skipped"]),
        (&2.into(), &1.into(), &1.into())
    );
    assert_eq!(report["differences"], json!([{"kind": "verdict", "count": 1}]));
    assert_eq!(report["skips"], json!([{"kind": "busy", "count": 1}]));
    assert_eq!(report["examples"][0]["differences"], json!(["done → retry: no"]));
    let history = host.get("/v1/plugins/p/releases").await.json();
    assert_eq!(history["shadow_reports"].as_array().map(Vec::len), Some(1), "only of shadows");
    assert_eq!(history["shadow_reports"][0]["number"], 2);
    let reply = host.send(control("/v1/plugins/p/releases/2/approve")).await;
    assert_eq!(reply.json()["detail"], "p #2 cannot become live: a could not take it over.");
    let plan = host.send(control("/v1/plugins/p/releases/2/approve?plan=true")).await.json();
    assert_eq!(plan["steps"], json!(["it becomes live on all hosts at once"]));
}

#[tokio::test]
async fn a_bad_upload_is_refused_with_every_fault() {
    let host = host();
    let (manifest, component) = (part("manifest", MANIFEST), part("component", "x"));
    for (parts, status, fields) in [
        (vec![], 422, vec!["component", "manifest"]),
        (vec![part("other", "x")], 422, vec!["component", "manifest", "other"]),
        (vec![manifest.clone(), component.clone(), component.clone()], 422, vec!["component"]),
        (vec![part("manifest", "name = 1"), component.clone()], 422, vec!["manifest"]),
        (
            vec![part("manifest", &MANIFEST.replace("\"p\"", "\"q\"")), component.clone()],
            422,
            vec!["manifest"],
        ),
        (vec![manifest.clone(), part("component", "")], 422, vec!["component"]),
    ] {
        let reply = host.send(deploy_as("deploy", "", &parts)).await;
        assert_eq!(reply.status, status, "{}", reply.text);
        let mut found = reply.fields();
        found.sort();
        assert_eq!(found, fields, "{}", reply.text);
    }
    for query in [
        "?canary=101%25",
        "?canary_events=5",
        "?canary=5&canary_events=0",
        "?plan=maybe",
        "?x=1",
        "?shadow=0",
        "?shadow_events=5",
        "?canary=5&shadow=5",
    ] {
        let reply = host.send(deploy(query, MANIFEST, "x")).await;
        assert_eq!(reply.status, 400, "{query}: {}", reply.text);
    }
    for path in ["/v1/plugins/P/releases", "/v1/plugins/p/releases/x", "/v1/plugins/none/releases"]
    {
        assert_eq!(host.get(path).await.status, 404, "{path}");
    }
    assert!(host.store.rows.lock().unwrap().releases.is_empty());
}

#[tokio::test]
async fn what_is_answered_about_releases_has_the_keys_of_the_document() {
    let host = host();
    host.send(deploy("?canary=5", MANIFEST, "one")).await;
    let history = host.get("/v1/plugins/p/releases").await.json();
    assert_eq!(keys(&history), schema("ReleaseHistory"));
    assert_eq!(history["candidate"], 1);
    let detail = host.get("/v1/plugins/p/releases/1").await.json();
    assert_eq!(keys(&detail), schema("ReleaseDetail"));
    assert_eq!(
        detail["hosts"][0],
        json!({"host": "a", "verdict": "rejected", "reason": "no room"})
    );
    assert_eq!(keys(&detail["tallies"]["canary"]), schema("Tally"));
    let disabled = host.send(control("/v1/plugins/p/disable")).await.json();
    assert_eq!(disabled, json!({"plugin": "p", "disabled": true, "changed": true}));
    let back = host.send(control("/v1/plugins/p/rollback?to=1")).await.json();
    assert_eq!(keys(&back), schema("RolledBack"));
    let failures = host.get("/v1/events/failures").await.json();
    assert_eq!(failures["items"][0]["release_number"], 7);
    let mut replay = control("/v1/events/replay");
    *replay.body_mut() = Body::from(r#"{"release_digest": "d"}"#);
    assert_eq!(host.send(replay).await.json(), json!({"replayed": 1_000, "more": true}));
    let mut replay = control("/v1/events/replay");
    *replay.body_mut() = Body::from(r#"{"reason": 1, "x": 2}"#);
    assert_eq!(host.send(replay).await.fields(), ["reason", "release_digest", "x"]);
}
