//! Shadows: an attempt is made once, copied, and compared; and nothing of the copy leaves the host.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;

use serde_json::{Value, json};

use super::components::{ENGINE, event, hostile};
use super::fakes::Fakes;
use super::server::{Answer, Server, header};
use crate::domain::{
    DifferenceKind as Kind, Outcome, ReleaseName, ShadowPlan, ShadowTally, SkipReason,
};
use crate::plugin::{Busy, Copied, Release, Shadow, ShadowCopy};

/// A live release, and another one that gets copies of all that it does.
struct Scene {
    live: Release,
    shadow: Arc<Shadow>,
    fakes: Arc<Fakes>,
}

impl Scene {
    async fn new(grants: &str) -> Self {
        Self::with(grants, "").await
    }

    /// `more`: of the shadow's manifest.
    async fn with(grants: &str, more: &str) -> Self {
        let manifest = |settings: &str, more: &str| {
            format!("[settings]\nof = \"{settings}\"\n[grants]\n{grants}\n{more}")
        };
        let live = hostile(&manifest("live", "")).await;
        let shadow = Arc::new(hostile(&manifest("shadow", more)).await);
        let name = ReleaseName { plugin: "hostile".into(), number: 2 };
        let plan = ShadowPlan { share: "100%".parse().unwrap(), events: 50 };
        let shadow = Arc::new(Shadow::new(name, shadow, plan));
        Self { live, shadow, fakes: Fakes::with_secret("KEY", "s3cret") }
    }

    /// The live release does this; answers a copy that is to be compared, and its end.
    async fn attempt(&self, payload: &Value) -> (ShadowCopy, Outcome) {
        let event = event(payload);
        let copy = self.shadow.copy(&self.live, &event).unwrap().unwrap();
        let told = (&Arc::default(), Some(copy.recorder()));
        let services = self.fakes.services();
        let outcome = self.live.attempt_reporting(&ENGINE, &event, &services, told).await;
        (copy, outcome)
    }

    /// The live release does one thing and the shadow another one, as if it were of the same event:
    /// in what they differ.
    async fn differences(&self, live: &Value, shadow: &Value) -> Vec<(Kind, String)> {
        let (copy, outcome) = self.attempt(live).await;
        let services = self.fakes.services();
        let before = self.shadow.tally();
        let event = event(shadow);
        let copied = copy.compare(&ENGINE, &event, &services, &outcome, pending()).await;
        let after = self.shadow.tally();
        assert_eq!(after.copies(), before.copies() + 1, "{:?}", after.skipped);
        assert_eq!(copied == Copied::Same, after.same > before.same);
        let example = after.examples.iter().find(|example| example.event == event.id);
        let found = example.map(|it| it.differences.clone()).unwrap_or_default();
        found.into_iter().map(|it| (it.kind, it.text)).collect()
    }

    /// Both do the same: how many copies did, and why others were skipped.
    async fn same(&self, payload: &Value) -> ShadowTally {
        let (copy, outcome) = self.attempt(payload).await;
        let services = self.fakes.services();
        copy.compare(&ENGINE, &event(payload), &services, &outcome, pending()).await;
        self.shadow.tally()
    }
}

fn skipped(reason: SkipReason) -> BTreeMap<SkipReason, u64> {
    BTreeMap::from([(reason, 1)])
}

#[tokio::test]
async fn a_copy_that_does_the_same_is_the_same_and_its_requests_are_made_once() {
    let server = Server::start(Answer::text("{\"reference\": 7}")).await;
    let scene = Scene::new(&server.grant()).await;
    let url = server.url();
    for payload in [
        json!({"do": "call", "url": url, "count": 2, "bytes": 5}),
        json!({"do": "call", "url": url, "method": "GET", "then": "trap"}),
        json!({"do": "call_template", "text": "KEY", "url": format!("{url}?key={{secret}}"),
            "headers": {"X-Key": "{secret}"}, "content_type": "text/plain", "body": "<{secret}>"}),
        json!({"do": "call_with_secret", "text": "KEY", "url": url}),
        json!({"do": "call", "url": "http://198.51.100.7/"}),
        json!({"do": "reject"}),
        json!({"do": "hmac", "text": "KEY", "body": "x"}),
    ] {
        let found = scene.differences(&payload, &payload).await;
        assert_eq!(found, [], "{payload}");
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 5);
    assert_eq!(header(&requests[3], "x-key"), ["s3cret"], "the live one's are filled in");
    let tally = scene.shadow.tally();
    assert_eq!((tally.same, tally.different, tally.skips()), (7, 0, 0));
}

#[tokio::test]
async fn another_request_is_told_in_words_and_answered_all_the_same() {
    let server = Server::start(Answer::text("{}")).await;
    let scene = Scene::new(&server.grant()).await;
    let url = server.url();
    let live = json!({"do": "call_template", "text": "KEY", "url": url, "method": "POST",
        "headers": {"X-A": "1", "X-Key": "{secret}"},
        "content_type": "application/json", "body": "{\"amount\": \"1\", \"to\": \"s3cret\"}"});
    let shadow = json!({"do": "call_template", "text": "KEY", "url": format!("{url}/v2?x=1"),
        "method": "POST", "headers": {"X-B": "1", "X-Key": "{secret}"},
        "content_type": "application/json", "body": "{\"amount\": \"2\", \"to\": \"s3cret\"}"});
    let found = scene.differences(&live, &shadow).await;
    let text = format!(
        "request 1, POST {url}: the path is /path/v2; the query differs in x; the header x-a is \
         missing; the header x-b is new; the body differs at /amount"
    );
    assert_eq!(found, [(Kind::RequestChanged, text)]);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn what_the_live_release_did_not_ask_for_is_denied_and_what_it_did_is_missed() {
    let server = Server::start(Answer::ok()).await;
    let scene = Scene::new(&server.grant()).await;
    let call = |count: u32| json!({"do": "call", "url": server.url(), "count": count});
    let found = scene.differences(&call(1), &call(2)).await;
    let kinds: Vec<_> = found.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [Kind::Verdict, Kind::RequestAdded], "{found:?}");
    assert!(found[0].1.contains("the live release did not make this request"), "{found:?}");
    let title = format!("PUT {}", server.url());
    assert_eq!(found[1].1, format!("request 2, {title}: the live release did not make it"));

    let found = scene.differences(&call(2), &json!({"do": "ok"})).await;
    let missing = (Kind::RequestMissing, format!("{title}: only the live release made it"));
    assert_eq!(found[1..], [missing.clone(), missing], "{found:?}");
    assert_eq!(found[0], (Kind::Detail, "the detail differs: 24 → 0 bytes".into()));
    // Its own grants hold for a shadow, too.
    let narrow = Scene::with("", "[limits]\nrequests = 1\n").await;
    let found = narrow.differences(&json!({"do": "ok"}), &call(1)).await;
    assert_eq!(found[0].0, Kind::Verdict);
    assert!(found[0].1.contains("into grants.http"), "{found:?}");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_shadow_that_traps_loops_or_rejects_harms_nobody() {
    let ok = json!({"do": "ok"});
    for (deed, verdict) in [
        (
            "trap",
            "done → retry: the handler trapped: wasm trap: wasm `unreachable` instruction executed",
        ),
        ("loop", "done → retry: time limit 200ms reached"),
        ("reject", "done → reject: never"),
        ("unknown", "done → unknown: nobody knows"),
        ("defer", "done → defer"),
    ] {
        // Of one kind a few examples are enough, so each has a scene of its own.
        let scene = Scene::with("", "[limits]\ntimeout = \"200ms\"\n").await;
        let found = scene.differences(&ok, &json!({"do": deed})).await;
        assert_eq!(found, [(Kind::Verdict, verdict.to_owned())]);
    }
    let scene = Scene::new("").await;
    let found = scene.differences(&json!({"do": "trap"}), &ok).await;
    assert_eq!(found, [(Kind::Verdict, "retry → done".to_owned())]);
}

#[tokio::test]
async fn a_shadow_reads_the_checkpoint_of_before_and_saves_for_nobody() {
    let scene = Scene::new("").await;
    let save = |bytes: usize| json!({"do": "save", "bytes": bytes, "then": "load"});
    let load = json!({"do": "load", "then": "save", "bytes": 9});
    *scene.fakes.checkpoint.lock().unwrap() = Some(b"\"before\"".to_vec());
    assert_eq!(scene.differences(&load, &load).await, []);
    *scene.fakes.checkpoint.lock().unwrap() = Some(b"\"before\"".to_vec());
    let found = scene.differences(&save(20), &json!({"do": "load"})).await;
    // It finds what the attempt found when it began, and not what it left.
    assert_eq!(found[0], (Kind::Detail, "the detail differs: 2 → 1 bytes".into()));
    let only = "only the live release saved a checkpoint";
    assert_eq!(found[1], (Kind::Checkpoint, only.into()));
    let found = scene.differences(&save(20), &save(30)).await;
    let differs = "the last checkpoint differs: 20 → 30 bytes";
    assert!(found.contains(&(Kind::Checkpoint, differs.into())), "{found:?}");
    let kept = scene.fakes.checkpoint.lock().unwrap().clone();
    assert_eq!(kept.map(|it| it.len()), Some(20), "the live one's");
}

#[tokio::test]
async fn messages_are_published_and_payments_signed_once() {
    let scene = Scene::new("").await;
    let publish = |bytes: usize, count: u32| json!({"do": "publish", "text": "granted", "bytes": bytes, "count": count});
    assert_eq!(scene.differences(&publish(3, 2), &publish(3, 2)).await, []);
    let found = scene.differences(&publish(3, 1), &publish(4, 2)).await;
    let changed = "a message to granted: its body differs: 3 → 4 bytes";
    let added = "a message to granted: the live release did not publish it";
    assert_eq!(found, [(Kind::Message, changed.into()), (Kind::Message, added.into())]);
    assert_eq!(scene.fakes.published.lock().unwrap().len(), 3);

    let sign = |bytes: usize| json!({"do": "sign", "count": 31337, "bytes": bytes});
    assert_eq!(scene.differences(&sign(0), &sign(0)).await, []);
    let found = scene.differences(&sign(0), &sign(4)).await;
    assert_eq!(found, [(Kind::Signature, "a signature for eip155:31337: another data".into())]);
    let found = scene.differences(&json!({"do": "ok"}), &sign(0)).await;
    assert_eq!(found[0].0, Kind::Verdict);
    let unasked = "a signature for eip155:31337: the live release did not ask for it";
    assert_eq!(found[1], (Kind::Signature, unasked.into()));
    assert_eq!(scene.fakes.signed.lock().unwrap().len(), 2);
    for asks in [json!({"do": "terms", "text": "eip155:31337"}), json!({"do": "signed"})] {
        assert_eq!(scene.differences(&asks, &asks).await, []);
    }
}

#[tokio::test]
async fn receipts_are_compared_without_what_the_host_adds() {
    let scene =
        Scene::new("follow_ups = [\"NEXT\", \"OTHER\"]\ntransitions = [\"broadcasted\"]").await;
    let next = |of: &str, text: &str| json!({"do": "follow_ups", "method": of, "text": text});
    assert_eq!(scene.differences(&next("NEXT", "{}"), &next("NEXT", "{}")).await, []);
    let found = scene.differences(&next("NEXT", "{}"), &next("NEXT", "{\"n\": 1}")).await;
    let payload = "the payload of the follow-up NEXT differs at /n";
    assert_eq!(found, [(Kind::FollowUps, payload.into())]);
    let found = scene.differences(&next("NEXT", "{}"), &next("OTHER", "{}")).await;
    assert_eq!(found, [(Kind::FollowUps, "follow-ups NEXT → OTHER".into())]);
    let found = scene.differences(&json!({"do": "broadcasted"}), &json!({"do": "ok"})).await;
    assert_eq!(found, [(Kind::Transition, "transition broadcasted → none".into())]);
    // Each has its own settings.
    let settings = json!({"do": "settings"});
    let found = scene.differences(&settings, &settings).await;
    assert_eq!(found, [(Kind::Detail, "the detail differs at /of".into())]);
}

#[tokio::test]
async fn what_does_not_fit_or_was_cut_off_is_skipped() {
    let server = Server::start(Answer::ok()).await;
    let scene = Scene::new(&server.grant()).await;
    let large = json!({"do": "call", "url": server.url(), "bytes": 1 << 20});
    assert_eq!(scene.same(&large).await.skipped, skipped(SkipReason::TooLarge));
    assert_eq!(server.requests().len(), 1, "the attempt itself is not bounded by it");

    // The attempt is dropped in the middle of a request, as at its time limit.
    let silent = Server::start(Answer::Silence).await;
    let grant = format!("{}\n[limits]\ntimeout = \"300ms\"\n", silent.grant());
    let scene = Scene::new(&grant).await;
    let call = json!({"do": "call", "url": silent.url()});
    assert_eq!(scene.same(&call).await.skipped, skipped(SkipReason::CutOff));
    assert_eq!(silent.requests().len(), 1);
}

#[tokio::test]
async fn there_is_an_end_to_the_recordings_of_a_moment_and_to_all_copies() {
    let scene = Scene::new("").await;
    let ok = json!({"do": "ok"});
    let mut held = Vec::new();
    let busy = loop {
        match scene.shadow.copy(&scene.live, &event(&ok)).unwrap() {
            Ok(copy) => held.push(copy),
            Err(busy) => break busy,
        }
    };
    assert_eq!((busy, held.len()), (Busy, 64));
    assert_eq!(scene.shadow.tally().skipped, skipped(SkipReason::Busy));
    drop(held);
    for _ in 0..49 {
        scene.same(&ok).await;
    }
    // A host that stops waits for no copy.
    let (copy, outcome) = scene.attempt(&ok).await;
    let services = scene.fakes.services();
    let stopped = async {};
    let copied =
        copy.compare(&ENGINE, &event(&json!({"do": "sleep"})), &services, &outcome, stopped).await;
    assert_eq!(copied, Copied::Skipped);
    assert_eq!(scene.shadow.tally().skipped[&SkipReason::Stopped], 1);
    assert_eq!(scene.same(&ok).await.same, 50);
    assert!(scene.shadow.copy(&scene.live, &event(&ok)).is_none(), "it has had all of its plan");
}

#[tokio::test]
async fn only_what_it_handles_of_its_share_is_copied_to_another_release() {
    let scene = Scene::new("").await;
    let release = Arc::clone(&scene.shadow.release);
    let of = |share: &str| {
        let plan = ShadowPlan { share: share.parse().unwrap(), events: 1_000 };
        Arc::new(Shadow::new(scene.shadow.name.clone(), Arc::clone(&release), plan))
    };
    let event = |id: usize| {
        let mut event = event(&json!({"do": "ok"}));
        event.aggregate = crate::domain::Aggregate::new("TEST", &id.to_string()).unwrap();
        event
    };
    let half = of("50%");
    let copied = (0..400).filter(|id| half.copy(&scene.live, &event(*id)).is_some()).count();
    assert!((120..280).contains(&copied), "{copied} of 400");
    let all = of("100%");
    assert!(all.copy(&release, &event(1)).is_none(), "it is live itself");
    let mut other = event(1);
    other.event_type = "OTHER".parse().unwrap();
    assert!(all.copy(&scene.live, &other).is_none());
    // Where a full share is heard of elsewhere, nothing more is copied here.
    all.heard_of(999);
    assert!(all.copy(&scene.live, &event(1)).is_some());
    all.heard_of(1_000);
    assert!(all.copy(&scene.live, &event(1)).is_none());
}
