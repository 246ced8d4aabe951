use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tidegate_plugin::{
    Event, Failure, Finding, Handler, Reconciler, done, retry, retry_after,
    testing::{self, FakeHost, Reply},
};

use super::PartnerSync;

const ID: &str = "01949dc5-8000-7000-8000-000000000001";

fn host() -> FakeHost {
    let host = FakeHost::new();
    host.settings(json!({
        "base_url": "https://api.partner.example/v1/",
        "api_key_secret": "PARTNER_API_KEY",
    }))
    .secret("PARTNER_API_KEY", "placeholder-7");
    host
}

fn payload(status: &str) -> Value {
    json!({
        "withdrawal_id": ID, "user_id": "u-1", "asset": "ETH", "network": "eip155:1",
        "amount": "1.5", "destination_address": "0x1", "status": status, "tx_hash": null,
        "failure_reason": null, "requested_at": "2026-01-01T00:00:00Z", "broadcasted_at": null,
        "confirmed_at": null,
    })
}

fn event(status: &str) -> Event {
    testing::event("PARTNER_SYNC_REQUESTED", payload(status))
}

fn handle(reply: Reply) -> Result<tidegate_plugin::Receipt, Failure> {
    host().reply(reply);
    PartnerSync::handle(&event("REQUESTED"))
}

#[test]
fn the_whole_payload_is_put_under_the_withdrawals_id() {
    let host = host();
    host.reply(Reply::json(201, json!({ "reference": "P-17" })));
    let event = event("REQUESTED");

    let receipt = PartnerSync::handle(&event).unwrap();

    assert_eq!(receipt, done().detail(json!({ "reference": "P-17" })));
    let [request] = &host.requests()[..] else { panic!("one request") };
    assert_eq!(request.method, "PUT");
    assert_eq!(request.url, format!("https://api.partner.example/v1/withdrawals/{ID}"));
    assert_eq!(request.header("idempotency-key"), Some(event.idempotency_key.as_str()));
    assert_eq!(request.header("authorization"), Some("Bearer placeholder-7"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.json::<Value>(), payload("REQUESTED"));
    assert_eq!(request.timeout, Some(Duration::from_secs(8)));
}

#[test]
fn without_a_secret_there_is_no_authorization() {
    let host = FakeHost::new();
    host.settings(json!({ "base_url": "http://127.0.0.1:9000", "request_timeout_ms": 100 }))
        .reply(Reply::status(204));

    let receipt = PartnerSync::handle(&event("REQUESTED")).unwrap();

    assert_eq!(receipt, done().detail(json!({ "status": 204, "answer": "" })));
    assert_eq!(host.requests()[0].header("authorization"), None);
    assert_eq!(host.requests()[0].timeout, Some(Duration::from_millis(100)));
}

#[test]
fn every_2xx_is_done() {
    for status in [200, 201, 202, 204, 299] {
        assert!(handle(Reply::status(status)).is_ok(), "{status}");
    }
}

#[test]
fn an_answer_that_is_long_or_no_json_is_kept_as_an_excerpt() {
    for body in ["created!".to_string(), json!({ "pad": "x".repeat(5000) }).to_string()] {
        let detail = handle(Reply::text(200, body)).unwrap().detail.unwrap();
        assert!(detail.len() < 600, "{}", detail.len());
        assert_eq!(serde_json::from_str::<Value>(&detail).unwrap()["status"], 200);
    }
}

#[test]
fn a_busy_partner_says_how_long_to_wait() {
    for status in [429, 503] {
        let reply = Reply::text(status, "later").header("Retry-After", "17");
        assert_eq!(
            handle(reply),
            Err(retry_after(
                format!("the partner answered {status}: later"),
                Duration::from_secs(17)
            )),
        );
        assert_eq!(
            handle(Reply::status(status)),
            Err(retry(format!("the partner answered {status}"))),
        );
    }
}

#[test]
fn a_busy_partner_may_name_a_date() {
    let host = host();
    host.now(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
        .reply(Reply::status(503).header("Retry-After", "Sun, 06 Nov 1994 08:50:37 GMT"));
    assert_eq!(
        PartnerSync::handle(&event("REQUESTED")),
        Err(retry_after("the partner answered 503", Duration::from_secs(60))),
    );
}

#[test]
fn the_partners_own_faults_are_retried() {
    for status in [500, 501, 502, 504, 599] {
        assert!(matches!(handle(Reply::status(status)), Err(Failure::Retry { after: None, .. })));
    }
    let Err(Failure::Retry { reason, .. }) = handle(Reply::connection_refused()) else {
        panic!("retry")
    };
    assert!(reason.contains("PUT https://api.partner.example: connection refused"), "{reason}");
}

#[test]
fn a_redirect_waits_for_the_operator() {
    let reply = Reply::status(308).header("Location", "https://new.example/");
    assert!(
        matches!(handle(reply), Err(Failure::Retry { reason, .. }) if reason.contains("https://new.example/"))
    );
}

#[test]
fn what_was_sent_and_not_answered_is_unknown() {
    for reply in [
        Reply::timed_out(),
        Reply::reset(),
        Reply::truncated(),
        Reply::text(200, "{\"ref").header("Content-Length", "4000"),
    ] {
        assert!(matches!(handle(reply.clone()), Err(Failure::Unknown(_))), "{reply:?}");
    }
}

#[test]
fn a_refusal_keeps_the_partners_own_words() {
    for status in [400, 401, 403, 404, 409, 422] {
        let reply = Reply::json(status, json!({ "error": "unknown asset" }));
        assert_eq!(
            handle(reply),
            Err(tidegate_plugin::reject(format!(
                "the partner answered {status}: {{\"error\":\"unknown asset\"}}"
            ))),
        );
    }
}

#[test]
fn a_long_refusal_is_cut() {
    let Err(Failure::Reject(reason)) = handle(Reply::text(422, "ä".repeat(10_000))) else {
        panic!("reject")
    };
    assert!(reason.chars().count() < 540, "{}", reason.chars().count());
}

#[test]
fn a_payload_without_a_field_is_rejected_by_name() {
    host();
    let event = testing::event("PARTNER_SYNC_REQUESTED", json!({ "withdrawal_id": 7 }));
    let Err(Failure::Reject(reason)) = PartnerSync::handle(&event) else { panic!("reject") };
    assert!(reason.contains("`withdrawal_id`"), "{reason}");
}

#[test]
fn settings_that_do_not_fit_are_retried_until_the_operator_repaired_them() {
    for settings in [json!({}), json!({ "base_url": "http://a", "api_kee": "x" })] {
        FakeHost::new().settings(settings);
        assert!(matches!(
            PartnerSync::handle(&event("REQUESTED")),
            Err(Failure::Retry { reason, .. }) if reason.contains("[settings]")
        ));
    }
}

#[test]
fn a_secret_that_is_not_granted_sends_nothing() {
    let host = FakeHost::new();
    host.settings(json!({ "base_url": "http://a.example", "api_key_secret": "OTHER" }));
    assert!(matches!(PartnerSync::handle(&event("REQUESTED")), Err(Failure::Reject(_))));
    assert!(host.requests().is_empty());
}

#[test]
fn an_id_cannot_leave_its_place_in_the_address() {
    let host = host();
    host.reply(Reply::status(200));
    let mut payload = payload("REQUESTED");
    payload["withdrawal_id"] = json!("../admin?x=");
    let _ = PartnerSync::handle(&testing::event("PARTNER_SYNC_REQUESTED", payload));
    assert!(host.requests()[0].url.ends_with("/withdrawals/..%2Fadmin%3Fx%3D"));
}

fn reconcile(wanted: &str, reply: Reply) -> Result<Finding, Failure> {
    let host = host();
    host.reply(reply);
    let finding = PartnerSync::reconcile(&event(wanted));
    assert_eq!(host.requests().len(), 1);
    assert_eq!(host.requests()[0].method, "GET", "a question must not act");
    finding
}

#[test]
fn a_record_that_is_not_there_did_not_happen() {
    assert_eq!(reconcile("REQUESTED", Reply::status(404)), Ok(Finding::DidNotHappen));
}

#[test]
fn a_record_proves_its_own_status_and_the_earlier_ones() {
    for (recorded, wanted, happened) in [
        ("REQUESTED", "REQUESTED", true),
        ("REQUESTED", "BROADCASTED", false),
        ("BROADCASTED", "REQUESTED", true),
        ("BROADCASTED", "CONFIRMED", false),
        ("CONFIRMED", "BROADCASTED", true),
        ("CONFIRMED", "CONFIRMED", true),
        ("CONFIRMED", "FAILED", false),
        ("FAILED", "CONFIRMED", false),
        ("FAILED", "REQUESTED", true),
        ("SOMETHING", "REQUESTED", false),
    ] {
        let finding = reconcile(wanted, Reply::json(200, json!({ "status": recorded }))).unwrap();
        assert_eq!(matches!(finding, Finding::Happened(_)), happened, "{recorded} {wanted}");
    }
}

#[test]
fn a_question_without_an_answer_leaves_it_unknown() {
    for reply in [
        Reply::timed_out(),
        Reply::reset(),
        Reply::connection_refused(),
        Reply::text(200, "<html>"),
        Reply::json(200, json!({ "state": "REQUESTED" })),
    ] {
        assert!(matches!(reconcile("REQUESTED", reply), Err(Failure::Unknown(_))));
    }
}

#[test]
fn a_busy_partner_is_asked_again_later() {
    let reply = Reply::status(429).header("Retry-After", "3");
    assert_eq!(
        reconcile("REQUESTED", reply),
        Err(retry_after("the partner answered 429", Duration::from_secs(3))),
    );
}
