//! A judgement before anything is written: it only computes.

use serde_json::{Value, json};

use super::components::{ENGINE, components, hostile, release};
use super::server::{Answer, Server};
use crate::domain::WithdrawalRequest;
use crate::plugin::{Release, ValidateError};

async fn judge(release: &Release, deed: Value) -> Result<(), ValidateError> {
    let request = WithdrawalRequest {
        user_id: "u".into(),
        asset: "ETH".into(),
        network: "eip155:31337".parse().unwrap(),
        amount: "1.50".parse().unwrap(),
        destination_address: deed.to_string(),
    };
    release.validate(&ENGINE, &request).await
}

fn assert_rejected(judgement: &Result<(), ValidateError>, said: &str) {
    match judgement {
        Err(ValidateError::Rejected(reason)) => assert!(reason.contains(said), "{reason}"),
        other => panic!("not rejected: {other:?}"),
    }
}

#[tokio::test]
async fn a_plugin_that_judges_nothing_rejects_nothing() {
    let noop = release(&components().await.noop, "");
    assert_eq!(judge(&noop, json!("anything")).await, Ok(()));
}

#[tokio::test]
async fn a_judgement_is_the_plugins() {
    let release = hostile("").await;
    assert_eq!(judge(&release, json!({"do": "ok"})).await, Ok(()));
    assert_rejected(&judge(&release, json!({"do": "reject"})).await, "never");
}

#[tokio::test]
async fn a_judge_without_end_or_with_a_trap_knows_nothing() {
    let release = hostile("[limits]\ntimeout = \"100ms\"").await;
    for (deed, said) in [
        ("loop", "time limit 100ms reached"),
        ("sleep", "time limit 100ms reached"),
        ("trap", "the handler trapped"),
        ("allocate", "memory limit 32MiB reached"),
    ] {
        match judge(&release, json!({"do": deed})).await {
            Err(ValidateError::Unavailable(reason)) => assert!(reason.contains(said), "{reason}"),
            other => panic!("{deed}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_judge_waits_for_seconds_whatever_its_manifest_allows() {
    let release = hostile("[limits]\ntimeout = \"10m\"").await;
    let judgement = judge(&release, json!({"do": "sleep"})).await;
    assert_eq!(judgement, Err(ValidateError::Unavailable("no judgement within 5 s".into())));
}

#[tokio::test]
async fn a_judge_has_no_grant() {
    let server = Server::start(Answer::ok()).await;
    let release = hostile(&format!("[grants]\n{}", server.grant())).await;
    let said = "not available while a withdrawal is judged";
    for deed in [
        json!({"do": "secret", "text": "KEY"}),
        json!({"do": "publish", "text": "granted"}),
        json!({"do": "terms", "text": "eip155:31337"}),
        json!({"do": "signed"}),
        json!({"do": "save"}),
        json!({"do": "load"}),
    ] {
        assert_rejected(&judge(&release, deed).await, said);
    }
    assert_rejected(&judge(&release, json!({"do": "call", "url": server.url()})).await, "denied");
    assert_eq!(server.connections(), 0);
}
