//! A CloudEvent holds its data to the letter, or the event is rejected.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
#[path = "../../../plugins/event-publish/src/lib.rs"]
mod event_publish;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|given: (&str, &str)| {
    use serde_json::Value;
    use serde_json::value::RawValue;
    use tidegate_plugin::Handler;
    use tidegate_plugin::testing::{self, FakeHost};

    #[derive(serde::Deserialize)]
    struct CloudEvent {
        specversion: String,
        id: String,
        subject: String,
        data: Box<RawValue>,
    }

    let (payload, subject) = given;
    let host = FakeHost::new();
    let mut event = testing::event("WITHDRAWAL_REQUESTED", Value::Null);
    event.raw_payload = payload.to_owned();
    event.aggregate_id = subject.to_owned();
    let handled = event_publish::EventPublish::handle(&event);
    let published = host.published();
    assert_eq!(handled.is_ok(), published.len() == 1, "said and done are one: {handled:?}");
    if let [message] = &published[..] {
        let sent: CloudEvent = serde_json::from_slice(&message.body).expect("a CloudEvent");
        assert_eq!((sent.specversion.as_str(), sent.id.as_str()), ("1.0", event.id.as_str()));
        assert_eq!(sent.subject, subject);
        assert_eq!(sent.data.get(), payload.trim_matches([' ', '\t', '\r', '\n']));
    }
});

#[cfg(not(fuzzing))]
fn main() {}
