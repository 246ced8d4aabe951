//! Every way to hand in events wrongly, and to decide about them, that we could think of. The table
//! is run by `bad_requests`.

use super::bad_requests::{Case, case};
use super::*;

fn with(field: &str, value: impl Into<Value>) -> Request<Body> {
    let mut event = an_event();
    event[field] = value.into();
    events("\"k\"", event.to_string())
}

fn raw(body: impl Into<Body>) -> Request<Body> {
    events("\"k\"", body)
}

fn batch(of: Vec<Value>) -> Request<Body> {
    raw(Value::from_iter([("events", Value::from(of))]).to_string())
}

pub(super) fn fields() -> Vec<Case> {
    let key = "0197f3a2-7c1e-7d4e-9a51-5b6d3f0c2a11";
    let all = &["aggregate_type", "aggregate_id", "event_type", "payload"];
    let payload = || json!("x".repeat(256 * 1024));
    vec![
        case("no fields", raw("{}"), 422, all),
        case("an array", raw("[]"), 422, &["$"]),
        case(
            "aggregate type lower",
            with("aggregate_type", json!("order")),
            422,
            &["aggregate_type"],
        ),
        case("aggregate type a number", with("aggregate_type", json!(1)), 422, &["aggregate_type"]),
        case("aggregate id empty", with("aggregate_id", json!("")), 422, &["aggregate_id"]),
        case(
            "aggregate id long",
            with("aggregate_id", json!("x".repeat(129))),
            422,
            &["aggregate_id"],
        ),
        case(
            "aggregate id with NUL",
            with("aggregate_id", json!("a\u{0}")),
            422,
            &["aggregate_id"],
        ),
        case("event type with a dash", with("event_type", json!("A-B")), 422, &["event_type"]),
        case("event type null", with("event_type", Value::Null), 422, &["event_type"]),
        case("payload too large", with("payload", payload()), 422, &["payload"]),
        case("key no UUID", with("idempotency_key", json!("k")), 422, &["idempotency_key"]),
        case(
            "key without hyphens",
            with("idempotency_key", json!(key.replace('-', ""))),
            422,
            &["idempotency_key"],
        ),
        case("key null", with("idempotency_key", Value::Null), 422, &["idempotency_key"]),
        case("a date", with("available_at", json!("2030-01-31")), 422, &["available_at"]),
        case("a number of time", with("valid_until", json!(1)), 422, &["valid_until"]),
        case("past", with("valid_until", json!("2020-01-01T00:00:00Z")), 422, &["valid_until"]),
        case("unknown", with("priority", json!(1)), 422, &["priority"]),
        case("status is the host's", with("status", json!("DONE")), 422, &["status"]),
        case(
            "a withdrawal's",
            with("aggregate_type", json!("WITHDRAWAL")),
            422,
            &["aggregate_type"],
        ),
        case(
            "a payment",
            with("event_type", json!("BLOCKCHAIN_BROADCAST_REQUESTED")),
            422,
            &["event_type"],
        ),
        case("a sync", with("event_type", json!("PARTNER_SYNC_REQUESTED")), 422, &["event_type"]),
        case("a fact", with("event_type", json!("WITHDRAWAL_CONFIRMED")), 422, &["event_type"]),
        case(
            "payload twice",
            raw(
                r#"{"aggregate_type":"A","aggregate_id":"1","event_type":"B","payload":1,"payload":2}"#,
            ),
            422,
            &["payload"],
        ),
        case("body too large", raw("x".repeat(4 * 1024 * 1024 + 1)), 413, &[]),
    ]
}

pub(super) fn batches() -> Vec<Case> {
    let key = json!("0197f3a2-7c1e-7d4e-9a51-5b6d3f0c2a11");
    let mut keyed = an_event();
    keyed["idempotency_key"] = key;
    let mut wrong = an_event();
    wrong["event_type"] = json!("a");
    wrong["valid_until"] = json!("soon");
    let mut late = an_event();
    late["available_at"] = json!("2099-01-02T00:00:00Z");
    late["valid_until"] = json!("2099-01-01T00:00:00Z");
    vec![
        case("no events", batch(vec![]), 422, &["events"]),
        case("too many events", batch(vec![an_event(); 1_001]), 422, &["events"]),
        case("events an object", raw(r#"{"events":{}}"#), 422, &["events"]),
        case("events twice", raw(r#"{"events":[],"events":[]}"#), 422, &["events"]),
        case("more beside", raw(r#"{"events":[],"x":1}"#), 422, &["x", "events"]),
        case("one is no object", batch(vec![an_event(), json!(7)]), 422, &["events[1]"]),
        case(
            "several wrong",
            batch(vec![wrong.clone(), an_event(), wrong, json!({"payload": null})]),
            422,
            &[
                "events[0].event_type",
                "events[0].valid_until",
                "events[2].event_type",
                "events[2].valid_until",
                "events[3].aggregate_type",
                "events[3].aggregate_id",
                "events[3].event_type",
            ],
        ),
        case("over before it begins", batch(vec![late]), 422, &["events[0].valid_until"]),
        case(
            "one key twice",
            batch(vec![keyed.clone(), an_event(), keyed]),
            422,
            &["events[2].idempotency_key"],
        ),
    ]
}

pub(super) fn decisions() -> Vec<Case> {
    let nobody = "00000000-0000-7000-8000-000000000000";
    let skip = |body: &str| decision(nobody, "skip", body);
    let mut read = decision(nobody, "skip", r#"{"reason":"x"}"#);
    read.headers_mut().insert("authorization", "Bearer read".parse().unwrap());
    let mut submit = decision(nobody, "cancel", r#"{"reason":"x"}"#);
    submit.headers_mut().insert("authorization", "Bearer submit".parse().unwrap());
    let mut operate = raw(an_event().to_string());
    operate.headers_mut().insert("authorization", "Bearer operate".parse().unwrap());
    vec![
        case("read may not skip", read, 403, &[]),
        case("submit may not cancel", submit, 403, &[]),
        case("operate may not submit events", operate, 403, &[]),
        case("skip without body", skip(""), 400, &[]),
        case("skip without reason", skip("{}"), 422, &["reason"]),
        case("reason blank", skip(r#"{"reason":"  "}"#), 422, &["reason"]),
        case("reason a number", skip(r#"{"reason":7}"#), 422, &["reason"]),
        case("reason twice", skip(r#"{"reason":"a","reason":"b"}"#), 422, &["reason"]),
        case("reason with NUL", skip("{\"reason\":\"a\\u0000\"}"), 422, &["reason"]),
        case("reason and more", skip(r#"{"reason":"a","force":true}"#), 422, &["force"]),
        case("a list of reasons", skip(r#"["a"]"#), 422, &["$"]),
        case("skip unknown", skip(r#"{"reason":"a"}"#), 404, &[]),
        case("cancel unknown", decision(nobody, "cancel", r#"{"reason":"a"}"#), 404, &[]),
        case("cancel no UUID", decision("7", "cancel", r#"{"reason":"a"}"#), 404, &[]),
        case("get a skip", request("GET", &format!("/v1/events/{nobody}/skip"), ""), 405, &[]),
    ]
}
