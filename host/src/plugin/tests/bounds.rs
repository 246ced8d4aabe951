//! The limits on what a call may have the host do for it, each at its edge.

use std::sync::Arc;

use serde_json::{Value, json};

use super::components::{
    assert_reject, assert_retry, assert_unknown, attempt, detail, hostile, release,
};
use super::fakes::{Fakes, services};
use super::wat::{self, Parts};
use crate::domain::Outcome;

async fn act(extra: &str, payload: Value) -> Outcome {
    attempt(&hostile(extra).await, &services(), payload).await
}

#[tokio::test]
async fn checkpoints_are_counted() {
    let release = hostile("[limits]\ncheckpoint_saves = 3").await;
    let save = async |count: u32| {
        let payload = json!({"do": "save", "bytes": 10, "count": count});
        attempt(&release, &services(), payload).await
    };
    detail(save(3).await);
    assert_retry(&save(4).await, "limit of 3 checkpoint saves a call reached");
}

#[tokio::test]
async fn calls_of_the_store_the_signer_and_the_secrets_are_counted_together() {
    let release = hostile("[limits]\nhost_calls = 3").await;
    let fakes = Fakes::with_secret("KEY", "value");
    let first = async |count: u32, then: &str| {
        let payload = json!({"do": "secret", "text": "KEY", "count": count, "then": then});
        attempt(&release, &fakes.services(), payload).await
    };
    detail(first(2, "load").await);
    for then in ["load", "signed", "save"] {
        assert_retry(&first(3, then).await, "limit of 3 host calls a call reached");
    }
    assert_retry(&first(4, "ok").await, "limit of 3 host calls a call reached");
    let sign = json!({"do": "sign", "count": 31337, "then": "signed"});
    detail(attempt(&release, &Fakes::new().services(), sign).await);
}

#[tokio::test]
async fn a_detail_is_bounded() {
    let text =
        |bytes: usize| json!({"do": "detail", "text": format!("\"{}\"", "x".repeat(bytes - 2))});
    let limits = "[limits]\ndetail = \"100B\"";
    detail(act(limits, text(100)).await);
    let said = "limit 100B of the receipt's detail reached: 101 bytes given";
    assert_unknown(&act(limits, text(101)).await, said);
}

#[tokio::test]
async fn follow_ups_are_bounded_together() {
    let limits = "[limits]\nfollow_ups_bytes = \"100B\"\n[grants]\nfollow_ups = [\"NEXT\"]";
    let payload =
        |text: &str| json!({"do": "follow_ups", "method": "NEXT", "count": 2, "text": text});
    let half = format!("\"{}\"", "x".repeat(48));
    assert!(matches!(act(limits, payload(&half)).await, Outcome::Done(_)));
    let more = format!("\"{}\"", "x".repeat(49));
    let said = "limit 100B of all follow-ups reached: 102 bytes given";
    assert_unknown(&act(limits, payload(&more)).await, said);
}

#[tokio::test]
async fn both_kinds_of_random_bytes_are_bounded() {
    for deed in ["random", "insecure_random"] {
        let limits = "[limits]\nrandom = \"1KiB\"";
        let given = act(limits, json!({"do": deed, "bytes": 1024})).await;
        assert_eq!(detail(given), json!(1024));
        let said = "limit 1KiB of random bytes at once reached: 1025 asked for";
        assert_retry(&act(limits, json!({"do": deed, "bytes": 1025})).await, said);
    }
}

#[tokio::test]
async fn tables_share_one_limit() {
    let grown = async |elements: u32| {
        let grow = format!(
            "(if (i32.eq (table.grow $b (ref.null func) (i32.const {elements})) (i32.const -1)) \
             (then unreachable)) i32.const 1024"
        );
        let wasm = wat::plugin("(table $a 60 funcref) (table $b 0 funcref)", &grow, "");
        let release = release(&wasm, "[limits]\ntable_elements = 100");
        attempt(&release, &services(), json!({})).await
    };
    assert!(matches!(grown(40).await, Outcome::Done(_)));
    assert_retry(&grown(41).await, "table limit of 100 elements reached");
}

#[tokio::test]
async fn core_instances_are_counted() {
    let started = async |max: u32| {
        let extra = "(core module $empty) (core instance (instantiate $empty))";
        let wasm = Parts { before: extra, ..Parts::default() }.binary();
        let release = release(&wasm, &format!("[limits]\ninstances = {max}"));
        attempt(&release, &services(), json!({})).await
    };
    assert!(matches!(started(2).await, Outcome::Done(_)));
    assert_retry(&started(1).await, "limit of 1 core instances reached");
}

#[tokio::test]
async fn handles_that_are_never_dropped_are_bounded() {
    // A handle to wait with has two parts.
    let leak = |count: u32| json!({"do": "leak_pollables", "count": count});
    detail(act("", leak(500)).await);
    assert_retry(&act("", leak(600)).await, "limit of 1024 resources a call reached");
}

#[tokio::test]
async fn what_the_host_keeps_for_leaked_handles_is_bounded() {
    let mebibytes = |outcome| detail(outcome).as_u64().unwrap() >> 20;
    let headers = act("", json!({"do": "leak_headers", "count": 900})).await;
    assert!(mebibytes(headers) <= 32);
    let bodies = act("", json!({"do": "leak_bodies", "count": 300})).await;
    assert!(mebibytes(bodies) <= 32);
}

#[tokio::test]
async fn the_parts_of_a_request_are_bounded() {
    let taken = async |part: &str, bytes: u32| {
        detail(act("", json!({"do": "long_name", "text": part, "bytes": bytes})).await)
    };
    for (part, max) in [("authority", 1024), ("method", 32)] {
        assert_eq!(taken(part, max).await, json!(true), "{part}");
        assert_eq!(taken(part, max + 1).await, json!(false), "{part}");
    }
    assert_eq!(taken("path", 100_000).await, json!(false));
    assert_eq!(taken("scheme", 1_000).await, json!(false));
}

#[tokio::test]
async fn what_a_guest_hands_over_at_once_is_bounded() {
    // Two megabytes of text beside limits of a few bytes.
    let limits = "[limits]\ncheckpoint = \"1B\"\nrequest_body = \"1B\"\ndetail = \"1B\"\n\
                  follow_ups_bytes = \"1B\"";
    let release = hostile(limits).await;
    let log = |bytes: usize| json!({"do": "log", "text": "x".repeat(bytes)});
    detail(attempt(&release, &services(), log(200_000)).await);
    let fakes = Arc::new(Fakes::default());
    let save = json!({"do": "save", "bytes": 2_000_000});
    let outcome = attempt(&release, &fakes.services(), save).await;
    assert_retry(&outcome, "of what is handed over at once reached");
    let save = json!({"do": "save", "bytes": 1_000_000});
    assert_reject(
        &attempt(&release, &fakes.services(), save).await,
        "checkpoint limit 1B reached: 1000000 bytes given",
    );
}
