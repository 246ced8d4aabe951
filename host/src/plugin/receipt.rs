//! A receipt is a guest's word: it is checked against grants and limits before anything believes it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::bindings::exported::handler::Receipt as GuestReceipt;
use super::bindings::imported::types::{FollowUp, Transition};
use super::grants::TransitionGrant;
use super::limits::size;
use super::release::ReleaseFacts;
use super::secrecy::Redactor;
use crate::domain::{Aggregate, NewEvent, OutboxEvent, Receipt, Standing};

/// Texts nested deeper are refused: others would parse what a guest wrote, with limits of their own.
const JSON_DEPTH_MAX: u32 = 64;

/// What the receipt says, or why it is not believed.
pub(super) fn check(
    release: &ReleaseFacts,
    event: &OutboxEvent,
    receipt: GuestReceipt,
) -> Result<Receipt, String> {
    let GuestReceipt { detail, transition, follow_ups } = receipt;
    let detail = detail.map(|detail| check_detail(release, detail)).transpose()?;
    let standing = transition.map(|it| check_transition(release, it)).transpose()?;
    let max = release.manifest.limits.follow_ups;
    if follow_ups.len() > max {
        return Err(format!("limit of {max} follow-ups reached: {} given", follow_ups.len()));
    }
    let bytes = follow_ups.iter().map(|follow_up| follow_up.payload.len()).sum::<usize>();
    let max = release.manifest.limits.follow_ups_bytes;
    if bytes > max {
        let max = size(max as u64);
        return Err(format!("limit {max} of all follow-ups reached: {bytes} bytes given"));
    }
    let follow_ups = follow_ups
        .into_iter()
        .map(|follow_up| check_follow_up(release, event, follow_up))
        .collect::<Result<_, _>>()?;
    Ok(Receipt { detail, standing, follow_ups })
}

/// The detail is for people, so it is shown without secrets.
fn check_detail(release: &ReleaseFacts, detail: String) -> Result<String, String> {
    check_json("the receipt's detail", &detail, release.manifest.limits.detail)?;
    let redactor = &release.outbound.redactor;
    let redacted = match redacted_json(redactor, &detail) {
        Some(redacted) => redacted,
        None => detail,
    };
    // What is none of its texts, as a long number, is still in it.
    match redactor.found_in(&redacted) {
        None => Ok(redacted),
        Some(secret) => Ok(Value::String(format!("the detail held {secret}")).to_string()),
    }
}

/// The JSON without secrets, however its texts escape them; none if it holds none there.
fn redacted_json(redactor: &Redactor, text: &str) -> Option<String> {
    redactor.patterns()?;
    let mut value: Value = serde_json::from_str(text).ok()?;
    redact(redactor, &mut value).then(|| value.to_string())
}

/// Whether anything was redacted. As deep as [`JSON_DEPTH_MAX`], for it was checked before.
fn redact(redactor: &Redactor, value: &mut Value) -> bool {
    match value {
        Value::String(text) => match redactor.text(text) {
            Cow::Borrowed(_) => false,
            Cow::Owned(redacted) => {
                *text = redacted;
                true
            }
        },
        Value::Array(items) => {
            let mut any = false;
            for item in items {
                any |= redact(redactor, item);
            }
            any
        }
        Value::Object(fields) => {
            let mut any = false;
            let read = std::mem::take(fields);
            for (key, mut field) in read {
                any = redact(redactor, &mut field) || any;
                let shown = redactor.text(&key).into_owned();
                any = shown != key || any;
                fields.insert(shown, field);
            }
            any
        }
        Value::Number(_) | Value::Bool(_) | Value::Null => false,
    }
}

fn check_transition(release: &ReleaseFacts, transition: Transition) -> Result<Standing, String> {
    let (grant, name, standing) = match transition {
        Transition::Broadcasted => {
            (TransitionGrant::Broadcasted, "broadcasted", Standing::Broadcasted)
        }
        Transition::Failed(reason) => {
            (TransitionGrant::Failed, "failed", Standing::Failed { reason: release.text(&reason) })
        }
    };
    let manifest = &release.manifest;
    if manifest.grants.transitions.contains(&grant) {
        return Ok(standing);
    }
    Err(format!(
        "the transition {name:?} is not granted: to allow it, put it into grants.transitions of {}",
        manifest.name
    ))
}

fn check_follow_up(
    release: &ReleaseFacts,
    event: &OutboxEvent,
    follow_up: FollowUp,
) -> Result<NewEvent, String> {
    let FollowUp { event_type, payload } = follow_up;
    let manifest = &release.manifest;
    let granted = manifest.grants.follow_ups.iter().find(|it| it.as_str() == event_type);
    let Some(granted) = granted else {
        let event_type: String = event_type.chars().take(64).collect();
        return Err(format!(
            "the follow-up {event_type:?} is not granted: to allow it, put it into \
             grants.follow_ups of {}",
            manifest.name
        ));
    };
    check_json("a follow-up's payload", &payload, manifest.limits.payload)?;
    // Data for another plugin, that would lie in the store in plain sight: to cut the secret out
    // would only make it wrong.
    let redactor = &release.outbound.redactor;
    if redactor.found_in(&payload).is_some() || redacted_json(redactor, &payload).is_some() {
        return Err("a follow-up's payload holds a secret of the host".to_owned());
    }
    // About the same aggregate: a guest has no way to name another.
    let about = Aggregate::clone(&event.aggregate);
    Ok(NewEvent {
        traceparent: event.traceparent.clone(),
        ..NewEvent::due_now(about, granted.clone(), payload)
    })
}

pub(crate) fn check_json(what: &str, text: &str, bytes_max: usize) -> Result<(), String> {
    if text.len() > bytes_max {
        let max = size(bytes_max as u64);
        return Err(format!("limit {max} of {what} reached: {} bytes given", text.len()));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    Nested { depth_left: JSON_DEPTH_MAX }
        .deserialize(&mut parser)
        .and_then(|()| parser.end())
        .map_err(|error| format!("{what} is not JSON: {error}"))
}

/// Reads any JSON and keeps nothing. Not `IgnoredAny`: that skips what nobody after it can read,
/// as halves of characters, numbers out of range and a thousand brackets.
#[derive(Clone, Copy)]
struct Nested {
    depth_left: u32,
}

impl Nested {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left }),
            None => Err(E::custom(format!("nested deeper than {JSON_DEPTH_MAX} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inner = self.deeper::<A::Error>()?;
        while items.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let inner = self.deeper::<A::Error>()?;
        // A key is a text, but a text whose halves of characters have to be looked at as well.
        while fields.next_key_seed(inner)?.is_some() {
            fields.next_value_seed(inner)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::check_json;

    fn nested(levels: usize) -> String {
        format!("{}1{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_everybody_can_read_is_json() {
        for text in
            ["{}", "null", " [1, -2.5e3, true] ", r#"{"a": {"b": ["\ud83d\ude00"]}}"#, "\"é\""]
        {
            assert_eq!(check_json("it", text, 100), Ok(()), "{text}");
        }
        assert_eq!(check_json("it", &nested(64), 1000), Ok(()));
    }

    #[test]
    fn what_somebody_cannot_read_is_none() {
        for text in [
            "",
            "{",
            "{} {}",
            "1e999",
            r#""\ud800""#,
            r#"{"\ud800": 1}"#,
            "'a'",
            "NaN",
            "\"\u{1}\"",
        ] {
            let said = check_json("it", text, 100).unwrap_err();
            assert!(said.starts_with("it is not JSON: "), "{text}: {said}");
        }
        assert!(check_json("it", &nested(65), 1000).unwrap_err().contains("64 levels"));
        assert!(check_json("it", &nested(100_000), 1 << 20).unwrap_err().contains("64 levels"));
        assert_eq!(check_json("it", "[1]", 2), Err("limit 2B of it reached: 3 bytes given".into()));
    }
}
