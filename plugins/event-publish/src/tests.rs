use serde_json::{Value, json};
use tidegate_plugin::{
    Event, Failure, Handler, done,
    messaging::PublishError,
    reject,
    testing::{self, FakeHost},
};

use super::EventPublish;

const ID: &str = "01949dc5-8000-7000-8000-000000000001";

fn event(event_type: &str) -> Event {
    testing::event(
        event_type,
        json!({ "withdrawal_id": ID, "amount": "1.50", "status": "REQUESTED" }),
    )
}

fn published(host: &FakeHost) -> Value {
    let [message] = &host.published()[..] else { panic!("one message") };
    serde_json::from_slice(&message.body).unwrap()
}

#[test]
fn an_event_goes_out_as_a_cloud_event() {
    let host = FakeHost::new();
    let mut event = event("WITHDRAWAL_REQUESTED");
    event.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());

    let receipt = EventPublish::handle(&event).unwrap();

    assert_eq!(
        receipt,
        done().detail(json!({ "topic": "tidegate.withdrawal_requested", "message_id": event.id })),
    );
    assert_eq!(
        published(&host),
        json!({
            "specversion": "1.0",
            "id": event.id,
            "source": "/tidegate",
            "type": "tidegate.withdrawal.requested",
            "subject": ID,
            "time": "2026-01-01T00:00:00.000Z",
            "datacontenttype": "application/json",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "data": { "withdrawal_id": ID, "amount": "1.50", "status": "REQUESTED" },
        }),
    );
    let message = &host.published()[0];
    assert_eq!(message.id, event.id);
    assert_eq!(message.content_type, "application/cloudevents+json");
}

#[test]
fn each_type_has_its_topic() {
    for (event_type, topic, cloud_type) in [
        ("WITHDRAWAL_REQUESTED", "tidegate.withdrawal_requested", "tidegate.withdrawal.requested"),
        (
            "WITHDRAWAL_BROADCASTED",
            "tidegate.withdrawal_broadcasted",
            "tidegate.withdrawal.broadcasted",
        ),
        ("WITHDRAWAL_CONFIRMED", "tidegate.withdrawal_confirmed", "tidegate.withdrawal.confirmed"),
        ("WITHDRAWAL_FAILED", "tidegate.withdrawal_failed", "tidegate.withdrawal.failed"),
    ] {
        let host = FakeHost::new();
        EventPublish::handle(&event(event_type)).unwrap();
        assert_eq!(host.published()[0].topic, topic);
        assert_eq!(published(&host)["type"], cloud_type);
    }
}

#[test]
fn without_a_trace_there_is_no_extension() {
    let host = FakeHost::new();
    EventPublish::handle(&event("WITHDRAWAL_FAILED")).unwrap();
    assert_eq!(published(&host).get("traceparent"), None);
}

#[test]
fn the_settings_name_topic_type_and_source() {
    let host = FakeHost::new();
    host.settings(json!({
        "topic_prefix": "payments.out", "type_prefix": "com.example", "source": "https://example.com/pay",
    }));
    EventPublish::handle(&event("WITHDRAWAL_CONFIRMED")).unwrap();
    assert_eq!(host.published()[0].topic, "payments.out.withdrawal_confirmed");
    assert_eq!(published(&host)["type"], "com.example.withdrawal.confirmed");
    assert_eq!(published(&host)["source"], "https://example.com/pay");
}

#[test]
fn the_data_is_the_payload_to_the_letter() {
    let host = FakeHost::new();
    let mut event = event("WITHDRAWAL_REQUESTED");
    event.raw_payload = r#"{"z":1.10,"a":123456789012345678901234567890}"#.into();
    EventPublish::handle(&event).unwrap();
    let body = String::from_utf8(host.published()[0].body.clone()).unwrap();
    assert!(body.contains(r#""data":{"z":1.10,"a":123456789012345678901234567890}"#), "{body}");
}

#[test]
fn two_attempts_are_one_message() {
    let host = FakeHost::new();
    host.fail_publish(PublishError::Unavailable("no acknowledgement in 5 s".into()));
    let mut event = event("WITHDRAWAL_REQUESTED");
    assert!(matches!(
        EventPublish::handle(&event),
        Err(Failure::Retry { reason, .. }) if reason.contains("no acknowledgement")
    ));
    event.attempt = 2;
    EventPublish::handle(&event).unwrap();
    EventPublish::handle(&event).unwrap();
    let [first, second] = &host.published()[..] else { panic!("two messages") };
    assert_eq!(first, second);
}

#[test]
fn what_the_broker_refuses_is_rejected() {
    let host = FakeHost::new();
    host.fail_publish(PublishError::Denied("tidegate.withdrawal_failed".into()))
        .fail_publish(PublishError::Refused("larger than 1 MiB".into()));
    assert_eq!(
        EventPublish::handle(&event("WITHDRAWAL_FAILED")),
        Err(reject("the topic is not granted: tidegate.withdrawal_failed")),
    );
    assert_eq!(
        EventPublish::handle(&event("WITHDRAWAL_FAILED")),
        Err(reject("the broker refused the message: larger than 1 MiB")),
    );
}

#[test]
fn settings_that_do_not_fit_are_retried_until_the_operator_repaired_them() {
    let host = FakeHost::new();
    host.settings(json!({ "topic": "x" }));
    assert!(matches!(
        EventPublish::handle(&event("WITHDRAWAL_FAILED")),
        Err(Failure::Retry { reason, .. }) if reason.contains("unknown field `topic`")
    ));
    assert!(host.published().is_empty());
}
