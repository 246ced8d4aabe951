//! One call: what a receipt may say, and what a fresh instance is.

use serde_json::json;

use super::components::{
    ENGINE, assert_reject, assert_retry, assert_unknown, attempt, components, detail, event,
    hostile, release,
};
use super::fakes::services;
use crate::domain::{EventState, Outcome, Receipt, Standing};

const GRANTED: &str =
    "[limits]\nfollow_ups = 2\n[grants]\nfollow_ups = [\"NEXT\"]\ntransitions = [\"broadcasted\"]";

fn receipt(outcome: Outcome) -> Receipt {
    match outcome {
        Outcome::Done(receipt) => receipt,
        other => panic!("not done: {other:?}"),
    }
}

#[tokio::test]
async fn the_noop_is_done() {
    let release = release(&components().await.noop, "");
    assert_eq!(receipt(attempt(&release, &services(), json!({})).await), Receipt::default());
    assert!(!release.reconciles());
}

#[tokio::test]
async fn no_state_leaks_from_one_call_to_another() {
    let release = hostile("").await;
    for _ in 0..3 {
        let calls = attempt(&release, &services(), json!({"do": "count_calls"})).await;
        assert_eq!(detail(calls), json!(1));
    }
}

#[tokio::test]
async fn an_event_that_this_host_does_not_hold_is_not_handled() {
    let mut event = event(&json!({"do": "ok"}));
    event.state = EventState::Pending;
    let outcome = hostile("").await.attempt(&ENGINE, &event, &services()).await;
    assert_reject(&outcome, "does not hold");
}

#[tokio::test]
async fn every_failure_of_a_handler_is_its_outcome() {
    let release = hostile("").await;
    let act = async |payload| attempt(&release, &services(), payload).await;
    let retried = act(json!({"do": "retry", "ms": 1500})).await;
    let ms = std::time::Duration::from_millis;
    assert_eq!(retried, Outcome::Retry { reason: "again, please".into(), after: Some(ms(1500)) });
    assert_unknown(&act(json!({"do": "unknown"})).await, "nobody knows");
    assert_eq!(act(json!({"do": "defer", "ms": 7})).await, Outcome::Defer { after: ms(7) });
    assert_reject(&act(json!({"do": "reject"})).await, "never");
}

#[tokio::test]
async fn granted_follow_ups_are_about_the_same_aggregate() {
    let mut event = event(&json!({"do": "follow_ups", "method": "NEXT", "text": "{}", "count": 2}));
    event.traceparent = Some("00-1-2-01".into());
    let outcome = hostile(GRANTED).await.attempt(&ENGINE, &event, &services()).await;
    let follow_ups = receipt(outcome).follow_ups;
    assert_eq!(follow_ups.len(), 2);
    assert_ne!(follow_ups[0].idempotency_key, follow_ups[1].idempotency_key);
    for follow_up in follow_ups {
        assert_eq!(follow_up.aggregate, event.aggregate);
        assert_eq!((follow_up.event_type.as_str(), follow_up.payload.as_str()), ("NEXT", "{}"));
        assert_eq!(follow_up.traceparent, event.traceparent);
    }
}

#[tokio::test]
async fn a_receipt_that_does_not_fit_leaves_the_outcome_unknown_and_says_why() {
    let release = hostile(GRANTED).await;
    let follow_ups = |event_type: &str, payload: &str, count: u32| json!({"do": "follow_ups", "method": event_type, "text": payload, "count": count});
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let long = format!("\"{}\"", "x".repeat(64 << 10));
    for (payload, said) in [
        (follow_ups("NEXT", "{}", 3), "limit of 2 follow-ups reached: 3 given"),
        (follow_ups("OTHER", "{}", 1), "put it into grants.follow_ups of hostile"),
        (follow_ups("NEXT", "{torn", 1), "a follow-up's payload is not JSON"),
        (follow_ups("NEXT", &deep, 1), "nested deeper than 64 levels"),
        (json!({"do": "garbage_json"}), "the receipt's detail is not JSON"),
        (json!({"do": "detail", "text": "\"\\ud800\""}), "the receipt's detail is not JSON"),
        (
            json!({"do": "detail", "text": long}),
            "limit 64KiB of the receipt's detail reached: 65538 bytes given",
        ),
        (
            json!({"do": "forbidden_transition"}),
            "the transition \"failed\" is not granted: to allow it, put it into \
             grants.transitions of hostile",
        ),
    ] {
        assert_unknown(&attempt(&release, &services(), payload).await, said);
    }
}

#[tokio::test]
async fn a_granted_transition_is_passed_on() {
    let outcome = attempt(&hostile(GRANTED).await, &services(), json!({"do": "broadcasted"})).await;
    assert_eq!(receipt(outcome).standing, Some(Standing::Broadcasted));
    let granted = hostile("[grants]\ntransitions = [\"failed\"]").await;
    let outcome = attempt(&granted, &services(), json!({"do": "forbidden_transition"})).await;
    let reason = "because I say so".to_owned();
    assert_eq!(receipt(outcome).standing, Some(Standing::Failed { reason }));
}

#[tokio::test]
async fn a_payload_that_the_handler_does_not_know_is_rejected_with_the_place() {
    let outcome = attempt(&hostile("").await, &services(), json!({"do": 7})).await;
    assert_reject(&outcome, "`do`");
}

#[tokio::test]
async fn a_trap_is_a_retry_that_names_it() {
    let outcome = attempt(&hostile("").await, &services(), json!({"do": "trap"})).await;
    assert_retry(
        &outcome,
        "the handler trapped: wasm trap: wasm `unreachable` instruction executed",
    );
}
