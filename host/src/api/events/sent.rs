//! Events as they were sent: one object, or `{"events": […]}`.
//!
//! A payload is handed on to the letter, so that no number loses digits on the way. What is read
//! for the rules and what is kept are therefore two readings of the same bytes.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::json::{self, Json, JsonError};

pub(super) struct Sent<'b> {
    pub(super) body: Json,
    /// Each event's payload, as far as there is one.
    payloads: Vec<Option<&'b str>>,
}

#[derive(Deserialize)]
struct RawBatch<'b> {
    #[serde(borrow)]
    events: Vec<&'b RawValue>,
}

#[derive(Deserialize)]
struct RawEvent<'b> {
    /// `null` and nothing look alike here; the other reading tells them apart.
    #[serde(borrow)]
    payload: Option<&'b RawValue>,
}

impl<'b> Sent<'b> {
    pub(super) fn parse(bytes: &'b [u8]) -> Result<Self, JsonError> {
        let body = json::parse(bytes)?;
        let payloads = if is_batch(&body) {
            let batch = serde_json::from_slice::<RawBatch<'_>>(bytes);
            let events = batch.map(|batch| batch.events).unwrap_or_default();
            events.into_iter().map(|event| payload(event.get().as_bytes())).collect()
        } else {
            vec![payload(bytes)]
        };
        Ok(Self { body, payloads })
    }

    pub(super) fn is_batch(&self) -> bool {
        is_batch(&self.body)
    }

    /// The payload of an event that has exactly one.
    pub(super) fn payload(&self, index: usize) -> &'b str {
        self.payloads.get(index).copied().flatten().unwrap_or("null")
    }

    /// What makes two requests the same: everything but white space and the order of keys; in
    /// payloads, which are kept to the letter, everything but white space.
    pub(super) fn fingerprinted(&self) -> Json {
        let mut body = self.body.clone();
        let Json::Object(entries) = &mut body else { return body };
        if !self.is_batch() {
            self.replace_payload(entries, 0);
            return body;
        }
        for (_, list) in entries.iter_mut().filter(|(key, _)| key == "events") {
            let Json::List(events) = list else { continue };
            for (index, event) in events.iter_mut().enumerate() {
                if let Json::Object(entries) = event {
                    self.replace_payload(entries, index);
                }
            }
        }
        body
    }

    fn replace_payload(&self, entries: &mut [(String, Json)], index: usize) {
        for (_, payload) in entries.iter_mut().filter(|(key, _)| key == "payload") {
            *payload = Json::Text(without_white_space(self.payload(index)));
        }
    }
}

fn is_batch(body: &Json) -> bool {
    matches!(body, Json::Object(entries) if entries.iter().any(|(key, _)| key == "events"))
}

fn payload(event: &[u8]) -> Option<&str> {
    let event: RawEvent<'_> = serde_json::from_slice(event).ok()?;
    event.payload.map(RawValue::get)
}

fn without_white_space(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let kept = |c: &char| {
        let escapes = in_text && !escaped && *c == '\\';
        if *c == '"' && !escaped {
            in_text = !in_text;
        }
        escaped = escapes;
        in_text || !c.is_ascii_whitespace()
    };
    json.chars().filter(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_kept_to_the_letter() {
        let body = br#"{"events":[{"payload": {"a" : 1.000000000000000000000001}},{"payload":null},{}, 7]}"#;
        let sent = Sent::parse(body).unwrap();
        assert!(sent.is_batch());
        assert_eq!(sent.payload(0), r#"{"a" : 1.000000000000000000000001}"#);
        assert_eq!((sent.payload(1), sent.payload(2), sent.payload(9)), ("null", "null", "null"));
        let sent = Sent::parse(br#" {"payload" : "x" } "#).unwrap();
        assert_eq!((sent.is_batch(), sent.payload(0)), (false, "\"x\""));
    }

    #[test]
    fn digits_make_another_request_and_white_space_does_not() {
        let canonical =
            |text: &str| Sent::parse(text.as_bytes()).unwrap().fingerprinted().canonical();
        let one = canonical(r#"{"event_type": "A", "payload": {"n": 1.00000000000000000001}}"#);
        assert_eq!(one, canonical(r#"{"payload":{"n":1.00000000000000000001},"event_type":"A"}"#));
        assert_ne!(one, canonical(r#"{"payload":{"n":1.00000000000000000002},"event_type":"A"}"#));
        assert_ne!(
            canonical(r#"{"events":[{"payload":"a b"}]}"#),
            canonical(r#"{"events":[{"payload":"ab"}]}"#)
        );
    }

    #[test]
    fn white_space_in_a_text_is_no_white_space() {
        assert_eq!(without_white_space(" [ \"a \\\" b\" , 1 ]\n"), r#"["a \" b",1]"#);
        assert_eq!(without_white_space(r#" "a\\" "#), r#""a\\""#);
    }
}
