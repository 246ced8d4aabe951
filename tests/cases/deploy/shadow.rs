//! A release that gets copies of attempts: what it does is reported, and reaches nobody.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use tidegate_tests::api::{Api, send};
use tidegate_tests::eventually::eventually;
use tidegate_tests::installation::Installation;
use tidegate_tests::machine;
use tidegate_tests::manifest::Manifest;
use tidegate_tests::target::Target;

use super::scene::{command, deploy, deployed, folder, installation, mark, mark_of, marker, state};

const WITHIN: Duration = Duration::from_secs(60);
/// Of one round. Fewer than a host copies at once.
const EVENTS: u64 = 40;

struct Scene {
    installation: Installation,
    api: Api,
    target: Target,
    /// Events handed in until now.
    events: u64,
}

impl Scene {
    fn manifest(&self, words: &str) -> Manifest {
        let told = format!("{}/told", self.target.url());
        let marker = marker("m", 0).calling(self.target.url());
        marker.with("settings", "tell", told).with("settings", "words", words)
    }

    /// Deploys it as the shadow of all aggregates; gives its report of one round of events.
    async fn shadow(&mut self, name: &str, manifest: &Manifest) -> Value {
        let folder = folder(self.installation.path(), name, manifest).await;
        let ended = deploy(&self.api, &folder, &["--shadow", "100%"]).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.out.contains("gets copies of 100% of the aggregates, 1000 at most"));
        let number = self.number().await;
        self.round().await;
        eventually(&format!("all are copied to {name}"), WITHIN, async || {
            let detail = self.api.get(&format!("/v1/plugins/marker/releases/{number}")).await;
            let report = detail["shadow_report"].clone();
            if report["copies"] == EVENTS { Ok(report) } else { Err(report.to_string()) }
        })
        .await
    }

    /// Hands events in, and waits until they are done.
    async fn round(&mut self) {
        let numbers = self.events..self.events + EVENTS;
        let ids = mark(&self.api, numbers.clone()).await.unwrap();
        self.events = numbers.end;
        for id in ids {
            let event = &self.api.event_reaches(&id, "DONE", WITHIN).await["event"];
            assert_eq!((mark_of(event), &event["attempt_count"]), ("m", &1.into()), "{event}");
            assert_eq!(event["last_error"], Value::Null, "{event}");
        }
    }

    /// Of the newest release.
    async fn number(&self) -> u32 {
        let history = self.api.get("/v1/plugins/marker/releases?limit=1").await;
        u32::try_from(history["releases"][0]["number"].as_u64().unwrap()).unwrap()
    }

    /// Each event was told once, in the live release's words.
    fn assert_told_once(&self) {
        let mut told = self.target.requests();
        told.sort_unstable();
        let mut expected: Vec<_> = (0..self.events)
            .map(|n| format!("PUT /told/{n} {{\"n\":{n},\"words\":\"live\"}}"))
            .collect();
        expected.sort_unstable();
        assert_eq!(told, expected);
    }
}

/// The texts of a report's examples.
fn texts(report: &Value) -> Vec<&str> {
    let examples = report["examples"].as_array().unwrap().iter();
    examples
        .flat_map(|it| it["differences"].as_array().unwrap())
        .map(|it| it.as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_is_compared_with_the_live_release_and_reaches_nobody() {
    let _shared = machine::shared().await;
    let installation = installation().with_sqlite();
    let (_host, api) = installation.serve().await;
    let target = Target::start().await;
    let mut scene = Scene { installation, api, target, events: 0 };
    let live = folder(scene.installation.path(), "live", &scene.manifest("live")).await;
    deployed(&scene.api, &live).await;

    let same = scene.shadow("same", &scene.manifest("live")).await;
    assert_eq!((&same["same"], &same["different"]), (&EVENTS.into(), &0.into()), "{same}");
    assert_eq!(same["skipped"], 0, "{same}");

    let other = scene.shadow("other", &scene.manifest("other")).await;
    assert_eq!((&other["same"], &other["different"]), (&0.into(), &EVENTS.into()), "{other}");
    assert_eq!(other["differences"][0]["kind"], "request changed");
    for text in texts(&other) {
        assert!(text.starts_with("request 1, PUT http://127.0.0.1:"), "{text}");
        assert!(text.ends_with(": the body differs at /words"), "{text}");
    }
    let elsewhere = format!("{}/v2", scene.target.url());
    let elsewhere = scene.manifest("live").with("settings", "tell", elsewhere);
    let elsewhere = scene.shadow("elsewhere", &elsewhere).await;
    assert!(texts(&elsewhere).iter().all(|it| it.contains(": the path is /v2/")), "{elsewhere}");

    let trapping = scene.manifest("live").with("settings", "trap", true);
    let trapping = scene.shadow("trapping", &trapping).await;
    assert_eq!(trapping["different"], EVENTS, "{trapping}");
    for text in texts(&trapping) {
        assert!(text.starts_with("done → unknown: the handler trapped"), "{text}");
    }
    scene.assert_told_once();

    let told = command(&scene.api, &["plugin", "history", "marker"]).await;
    let line = "shadow #5: 40 copies: 0 same, 40 different (verdict 40); 0 skipped";
    assert!(told.out.contains(line) && told.out.contains("SUPERSEDED"), "{}", told.out);
    let metrics = send(scene.api.request(Method::GET, "/metrics")).await.unwrap().text;
    let (url, sent) = (scene.target.url(), scene.events);
    for line in [
        "tidegate_shadow_copies_total{plugin=\"marker\",result=\"same\"} 40",
        "tidegate_shadow_copies_total{plugin=\"marker\",result=\"different\"} 120",
        &format!(
            "tidegate_outbound_requests_total{{plugin=\"marker\",origin=\"{url}\",outcome=\"2xx\"}} \
             {sent}"
        ),
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    ended_by_people(&mut scene).await;
}

/// A shadow is taken back, or becomes live because somebody approves it.
async fn ended_by_people(scene: &mut Scene) {
    let back = command(&scene.api, &["plugin", "rollback", "marker"]).await;
    assert_eq!(back.out.trim(), "marker: #5 was taken back, #1 is live", "{back:?}");
    let good = scene.manifest("live");
    scene.shadow("good", &good).await;
    assert_eq!(state(&scene.api, 6).await, "SHADOW");
    let approved =
        command(&scene.api, &["plugin", "approve", "marker", "6", "--reason", "the same"]).await;
    assert_eq!((approved.code, approved.out.trim()), (0, "marker #6 is LIVE"), "{approved:?}");
    assert_eq!(state(&scene.api, 1).await, "RETIRED");
    scene.round().await;
    scene.assert_told_once();
    let decisions = scene.api.get("/v1/plugins/marker/releases").await["decisions"].clone();
    let kinds: Vec<_> = decisions.as_array().unwrap()[..3].iter().map(|it| &it["kind"]).collect();
    assert_eq!(kinds, ["promoted", "shadow", "deployed"]);
}
