//! Each host function works where it is granted, and says what is missing where it is not.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::json;

use super::components::{
    assert_reject, assert_retry, assert_unknown, attempt, detail, hostile, hostile_behind, manifest,
};
use super::fakes::{Fakes, services};
use super::server::{Answer, Server, header};
use crate::plugin::{Outbound, PublishError, Release};

const SECRET: &str = "s3cret-value";

fn bytes(outcome: crate::domain::Outcome) -> u64 {
    detail(outcome).as_u64().unwrap()
}

#[tokio::test]
async fn a_checkpoint_is_found_in_the_next_call() {
    let release = hostile("").await;
    let fakes = Fakes::new();
    let load = async || attempt(&release, &fakes.services(), json!({"do": "load"})).await;
    assert_eq!(detail(load().await), json!(null));
    attempt(&release, &fakes.services(), json!({"do": "save", "bytes": 10})).await;
    assert_eq!(bytes(load().await), 8, "two of the bytes are quotation marks");
}

#[tokio::test]
async fn a_store_that_is_away_meanwhile_is_not_the_events_failure() {
    let release = hostile("").await;
    let fakes = Fakes::new();
    fakes.store_away.store(true, Ordering::Relaxed);
    let save = || json!({"do": "save", "bytes": 10});
    let outcome = attempt(&release, &fakes.services(), save()).await;
    assert!(
        matches!(outcome, crate::domain::Outcome::Interrupted { outcome_unknown: false, .. }),
        "{outcome:?}"
    );
    fakes.store_away.store(false, Ordering::Relaxed);
    detail(attempt(&release, &fakes.services(), save()).await);
}

#[tokio::test]
async fn a_checkpoint_beyond_the_limit_is_refused_and_changes_nothing() {
    let release = hostile("[limits]\ncheckpoint = \"100B\"").await;
    let fakes = Fakes::new();
    let save = async |bytes: usize| {
        attempt(&release, &fakes.services(), json!({"do": "save", "bytes": bytes})).await
    };
    detail(save(100).await);
    assert_reject(&save(101).await, "checkpoint limit 100B reached: 101 bytes given");
    assert_eq!(fakes.checkpoint.lock().unwrap().as_ref().unwrap().len(), 100);
}

#[tokio::test]
async fn settings_are_the_manifests() {
    let release = hostile("[settings]\nname = \"é\"\n[settings.inner]\nlist = [1, 2.5]").await;
    let seen = detail(attempt(&release, &services(), json!({"do": "settings"})).await);
    assert_eq!(seen, json!({"name": "é", "inner": {"list": [1, 2.5]}}));
}

#[tokio::test]
async fn a_secret_that_is_not_granted_is_denied_with_the_line_to_write() {
    let release = hostile("").await;
    let outcome = attempt(&release, &services(), json!({"do": "secret", "text": "OTHER"})).await;
    assert_reject(
        &outcome,
        "the secret \"OTHER\" is not granted: to allow it, put it into grants.secrets of hostile",
    );
}

#[tokio::test]
async fn a_granted_secret_is_a_placeholder_for_the_guest() {
    let fakes = Fakes::with_secret("KEY", SECRET);
    let payload = || json!({"do": "secret", "text": "KEY"});
    let release = hostile("").await;
    let first = detail(attempt(&release, &fakes.services(), payload()).await);
    let again = detail(attempt(&release, &fakes.services(), payload()).await);
    let reloaded = detail(attempt(&hostile("").await, &fakes.services(), payload()).await);
    let other_start = hostile_behind(&Arc::new(Outbound::new().unwrap()), "").await;
    let restarted = detail(attempt(&other_start, &fakes.services(), payload()).await);
    assert!(first.as_str().unwrap().starts_with("tidegate-secret-"), "{first}");
    assert_eq!(first, again);
    assert_eq!(first, reloaded, "what a checkpoint keeps outlives a swap");
    assert_ne!(first, restarted, "it is random for each start");
}

#[tokio::test]
async fn an_exposed_secret_is_its_value() {
    let server = Server::start(Answer::ok()).await;
    let secrets = "secrets = [{ name = \"KEY\", expose = true }]";
    let release = hostile(&format!("[grants]\n{secrets}\n{}", server.grant())).await;
    let fakes = Fakes::with_secret("KEY", SECRET);
    // The guest writes it into the header itself.
    let payload = json!({"do": "call_with_secret", "text": "KEY", "url": server.url()});
    detail(attempt(&release, &fakes.services(), payload).await);
    assert_eq!(header(&server.requests()[0], "authorization"), [format!("Bearer {SECRET}")]);
    // Shown to people it is not.
    let seen = attempt(&release, &fakes.services(), json!({"do": "secret", "text": "KEY"})).await;
    assert_eq!(detail(seen), json!("[secret KEY]"));
}

#[tokio::test]
async fn a_secret_without_a_value_is_named_and_tried_again() {
    let outcome =
        attempt(&hostile("").await, &services(), json!({"do": "secret", "text": "KEY"})).await;
    assert_retry(&outcome, "this host has no secret \"KEY\"");
}

#[tokio::test]
async fn a_placeholder_is_filled_in_on_its_way_to_a_granted_host() {
    let server = Server::start(Answer::ok()).await;
    let release = hostile(&format!("[grants]\n{}", server.grant())).await;
    let fakes = Fakes::with_secret("KEY", SECRET);
    let payload = json!({"do": "call_with_secret", "text": "KEY", "url": server.url()});
    detail(attempt(&release, &fakes.services(), payload).await);
    let requests = server.requests();
    assert_eq!(header(&requests[0], "authorization"), [format!("Bearer {SECRET}")]);
}

#[tokio::test]
async fn a_secret_never_leaves_towards_a_host_without_a_grant() {
    let server = Server::start(Answer::ok()).await;
    let fakes = Fakes::with_secret("KEY", SECRET);
    let payload = json!({"do": "call_with_secret", "text": "KEY", "url": server.url()});
    let outcome = attempt(&hostile("").await, &fakes.services(), payload).await;
    assert_retry(&outcome, "denied: to allow it");
    assert!(!format!("{outcome:?}").contains(SECRET));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_secret_that_no_header_can_hold_is_not_sent_and_not_shown() {
    let server = Server::start(Answer::ok()).await;
    let release = hostile(&format!("[grants]\n{}", server.grant())).await;
    let fakes = Fakes::with_secret("KEY", "s3cret\r\nInjected: 1");
    let payload = json!({"do": "call_with_secret", "text": "KEY", "url": server.url()});
    let outcome = attempt(&release, &fakes.services(), payload).await;
    assert_retry(&outcome, "the secret in the header authorization has a line break");
    assert!(!format!("{outcome:?}").contains("s3cret\\"), "{outcome:?}");
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_network_that_is_not_granted_is_not_signed_for() {
    let release = hostile("").await;
    let fakes = Fakes::new();
    for payload in [json!({"do": "sign", "count": 1}), json!({"do": "terms", "text": "eip155:1"})] {
        let outcome = attempt(&release, &fakes.services(), payload).await;
        assert_reject(
            &outcome,
            "signing for the network eip155:1 is not granted: to allow it, put it into \
             grants.networks of hostile",
        );
    }
    assert!(fakes.signed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_granted_network_is_signed_for() {
    let release = hostile("").await;
    let fakes = Fakes::new();
    let act = async |payload| detail(attempt(&release, &fakes.services(), payload).await);
    let terms = act(json!({"do": "terms", "text": "eip155:31337"})).await;
    assert_eq!(terms, json!({"account": "0xA", "decimals": 18}));
    assert_eq!(act(json!({"do": "signed"})).await, json!(null));
    assert_eq!(act(json!({"do": "sign", "count": 31337})).await, json!("0xhash"));
    assert_eq!(act(json!({"do": "signed"})).await, json!("0xhash"));
    let signed = fakes.signed.lock().unwrap();
    assert_eq!((signed[0].0.as_str(), signed[0].1.replace), ("eip155:31337", false));
}

#[tokio::test]
async fn a_transaction_with_too_much_data_does_not_reach_the_signer() {
    let fakes = Fakes::new();
    let payload = json!({"do": "sign", "count": 31337, "bytes": 16 * 1024 + 1});
    assert_reject(&attempt(&hostile("").await, &fakes.services(), payload).await, "too long");
    assert!(fakes.signed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_topic_that_is_not_granted_gets_no_message() {
    let fakes = Fakes::new();
    let payload = json!({"do": "publish", "text": "granted.not"});
    let outcome = attempt(&hostile("").await, &fakes.services(), payload).await;
    assert_reject(
        &outcome,
        "the topic \"granted.not\" is not granted: to allow it, put it into grants.topics of hostile",
    );
    assert!(fakes.published.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_granted_topic_gets_the_message() {
    let fakes = Fakes::new();
    let payload = json!({"do": "publish", "text": "granted", "bytes": 3});
    detail(attempt(&hostile("").await, &fakes.services(), payload).await);
    let published = fakes.published.lock().unwrap();
    let message = &published[0];
    assert_eq!((message.topic.as_str(), message.body.as_slice()), ("granted", b"xxx".as_slice()));
}

#[tokio::test]
async fn messages_are_bounded_in_number_and_size() {
    let release = hostile("[limits]\nrequests = 2\nrequest_body = \"10B\"").await;
    let fakes = Fakes::new();
    let publish = async |count: u32, bytes: usize| {
        let payload = json!({"do": "publish", "text": "granted", "count": count, "bytes": bytes});
        attempt(&release, &fakes.services(), payload).await
    };
    detail(publish(2, 10).await);
    assert_reject(&publish(1, 11).await, "limit 10B of a message's body reached");
    assert_reject(&publish(3, 1).await, "limit of 2 requests a call reached");
    assert_eq!(fakes.published.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn what_the_broker_says_reaches_the_operator() {
    let release = hostile("").await;
    let fakes = Fakes::new();
    let payload = || json!({"do": "publish", "text": "granted"});
    *fakes.publish_error.lock().unwrap() = Some(PublishError::Unavailable("no ack".into()));
    assert_retry(&attempt(&release, &fakes.services(), payload()).await, "no ack");
    *fakes.publish_error.lock().unwrap() = Some(PublishError::Refused("too large".into()));
    assert_reject(&attempt(&release, &fakes.services(), payload()).await, "too large");
}

#[tokio::test]
async fn a_panic_in_a_host_function_ends_only_the_call() {
    let release = Arc::new(hostile("").await);
    let fakes = Fakes::new();
    let payload = || json!({"do": "publish", "text": "granted"});
    fakes.panics.store(true, Ordering::Relaxed);
    let outcome = attempt(&release, &fakes.services(), payload()).await;
    assert_unknown(&outcome, "the host panicked during the call");
    fakes.panics.store(false, Ordering::Relaxed);
    detail(attempt(&release, &fakes.services(), payload()).await);
}

#[tokio::test]
async fn every_other_door_is_shut() {
    let server = Server::start(Answer::ok()).await;
    let payload = json!({"do": "escape", "port": server.port()});
    let found = detail(attempt(&hostile("").await, &services(), payload).await);
    let nothing = json!({
        "files": false, "written": false, "environment": 0, "arguments": 0, "sockets": [],
    });
    assert_eq!(found, nothing);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_manifest_without_a_grant_for_an_import_does_not_load() {
    let wasm = &super::components::components().await.hostile;
    for grant in ["secrets", "topics", "networks"] {
        let mut manifest = manifest("");
        match grant {
            "secrets" => manifest.grants.secrets.clear(),
            "topics" => manifest.grants.topics.clear(),
            _ => manifest.grants.networks.clear(),
        }
        let engine = &super::components::ENGINE;
        let error = Release::from_bytes(engine, manifest, wasm, None).err().unwrap().to_string();
        let said = format!("add {grant} to [grants] of its manifest");
        assert!(error.contains("hostile: the component imports tidegate:plugin/"), "{error}");
        assert!(error.contains(&said), "{error}");
    }
}
