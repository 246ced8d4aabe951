//! The fields of events as they are handed in, and every way in which they can be wrong.

use std::collections::HashMap;

use chrono::DateTime;
use uuid::Uuid;

use crate::domain::{Aggregate, EventType, Flow, NewEvent, Timestamp, WITHDRAWAL, event_types};

use super::super::json::Json;
use super::super::path::parse_uuid;
use super::super::problem::FieldError;
use super::sent::Sent;

const FIELDS: [&str; 7] = [
    "aggregate_type",
    "aggregate_id",
    "event_type",
    "payload",
    "idempotency_key",
    "available_at",
    "valid_until",
];

const EVENTS_MAX: usize = 1_000;

/// What a plugin takes by default, `limits.payload`.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

const NAME_RULE: &str = "needs 1 to 64 of A-Z, 0-9 and _, beginning with a letter";

/// Why a field's text is not taken.
struct Refusal {
    code: &'static str,
    detail: String,
}

fn invalid(rule: &str) -> Refusal {
    Refusal { code: "invalid", detail: rule.to_owned() }
}

fn rejected(rule: &str) -> Refusal {
    Refusal { code: "rejected", detail: rule.to_owned() }
}

/// What events are read by, besides themselves.
pub(super) struct Rules<'a> {
    pub(super) flow: &'a Flow,
    pub(super) now: Timestamp,
    pub(super) traceparent: &'a str,
}

/// Reads events into the domain, or names all that is wrong with them.
pub(super) fn read_events(
    sent: &Sent<'_>,
    rules: &Rules<'_>,
) -> Result<Vec<NewEvent>, Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut events = Vec::new();
    let mut keys = HashMap::new();
    let list = list_of(sent, &mut errors);
    for (index, event) in list.iter().enumerate() {
        let prefix = place(sent.is_batch(), index);
        let Json::Object(entries) = event else {
            let field = if prefix.is_empty() { "$" } else { prefix.trim_end_matches('.') };
            let detail = format!("must be an object, and is {}", event.kind());
            errors.push(FieldError::new(field, "wrong_type", detail));
            continue;
        };
        let mut reader = Reader { prefix, entries, errors: &mut errors };
        let Some(event) = reader.event(sent.payload(index), rules) else { continue };
        if let Some(other) = keys.insert(event.idempotency_key, index) {
            let detail = format!("is that of events[{other}] too");
            reader.error("idempotency_key", "duplicate", detail);
        }
        events.push(event);
    }
    if errors.is_empty() { Ok(events) } else { Err(errors) }
}

/// Names the events whose own keys are in the outbox already.
pub(super) fn keys_taken(batch: bool, events: &[NewEvent], taken: &[Uuid]) -> Vec<FieldError> {
    let taken = |(index, event): (usize, &NewEvent)| {
        let field = format!("{}idempotency_key", place(batch, index));
        let detail = "is that of an event in the outbox";
        taken.contains(&event.idempotency_key).then(|| FieldError::new(&field, "taken", detail))
    };
    events.iter().enumerate().filter_map(taken).collect()
}

fn place(batch: bool, index: usize) -> String {
    if batch { format!("events[{index}].") } else { String::new() }
}

fn list_of<'s>(sent: &'s Sent<'_>, errors: &mut Vec<FieldError>) -> &'s [Json] {
    let Json::Object(entries) = &sent.body else { return std::slice::from_ref(&sent.body) };
    if !sent.is_batch() {
        return std::slice::from_ref(&sent.body);
    }
    for (key, _) in entries.iter().filter(|(key, _)| key != "events") {
        let detail = "is unknown; beside events there is nothing";
        errors.push(FieldError::new(key, "unknown", detail));
    }
    let mut given = entries.iter().filter(|(key, _)| key == "events").map(|(_, value)| value);
    let error = match (given.next(), given.next()) {
        (Some(Json::List(events)), None) if (1..=EVENTS_MAX).contains(&events.len()) => {
            return events;
        }
        (Some(Json::List(events)), None) => {
            let detail = format!("needs 1 to {EVENTS_MAX} events, and has {}", events.len());
            FieldError::new("events", "invalid", detail)
        }
        (Some(other), None) => {
            let detail = format!("must be an array, and is {}", other.kind());
            FieldError::new("events", "wrong_type", detail)
        }
        (_, _) => FieldError::new("events", "duplicate", "is given more than once"),
    };
    errors.push(error);
    &[]
}

struct Reader<'a> {
    prefix: String,
    entries: &'a [(String, Json)],
    errors: &'a mut Vec<FieldError>,
}

impl<'a> Reader<'a> {
    fn event(&mut self, payload: &str, rules: &Rules<'_>) -> Option<NewEvent> {
        let known = self.errors.len();
        let kind = self.required("aggregate_type", read_aggregate_type);
        let id = self.required("aggregate_id", |text| match Aggregate::new("X", text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(invalid("needs 1 to 128 bytes and no control characters")),
        });
        let event_type = self.required("event_type", |text| read_event_type(text, rules.flow));
        self.payload(payload);
        let key = self.optional("idempotency_key", |text| {
            parse_uuid(text).ok_or_else(|| invalid("needs a UUID, with its hyphens"))
        });
        let available_at = self.optional("available_at", read_time);
        let valid_until = self.optional("valid_until", read_time);
        if valid_until
            .is_some_and(|until| until <= available_at.unwrap_or(rules.now).max(rules.now))
        {
            let detail = "must be later than now, and later than available_at";
            self.error("valid_until", "invalid", detail.to_owned());
        }
        for (key, _) in self.entries {
            if !FIELDS.contains(&key.as_str()) {
                let detail = format!("is unknown; the fields are: {}", FIELDS.join(", "));
                self.error(key, "unknown", detail);
            }
        }
        let (Some(kind), Some(id), Some(event_type)) = (kind, id, event_type) else { return None };
        let aggregate = Aggregate::new(&kind, &id).ok().filter(|_| self.errors.len() == known)?;
        let event = NewEvent::due_now(aggregate, event_type, payload.to_owned());
        Some(NewEvent {
            idempotency_key: key.unwrap_or(event.idempotency_key),
            available_at,
            valid_until,
            traceparent: Some(rules.traceparent.to_owned()),
            ..event
        })
    }

    fn payload(&mut self, payload: &str) {
        match self.entries.iter().filter(|(key, _)| key == "payload").count() {
            0 => self.error("payload", "required", "is missing".to_owned()),
            1 if payload.len() > PAYLOAD_BYTES_MAX => {
                let detail = format!("needs at most {PAYLOAD_BYTES_MAX} bytes");
                self.error("payload", "invalid", detail);
            }
            1 => {}
            _ => self.error("payload", "duplicate", "is given more than once".to_owned()),
        }
    }

    fn required<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, Refusal>) -> Option<T> {
        if !self.entries.iter().any(|(key, _)| key == name) {
            self.error(name, "required", "is missing".to_owned());
            return None;
        }
        self.optional(name, read)
    }

    /// None if it is not there, and if it is wrong, which is then among the errors.
    fn optional<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, Refusal>) -> Option<T> {
        let mut given = self.entries.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let (code, detail) = match (given.next(), given.next()) {
            (None, _) => return None,
            (Some(_), Some(_)) => ("duplicate", "is given more than once".to_owned()),
            (Some(Json::Text(text)), None) => match read(text) {
                Ok(value) => return Some(value),
                Err(Refusal { code, detail }) => (code, detail),
            },
            (Some(other), None) => {
                ("wrong_type", format!("must be a string, and is {}", other.kind()))
            }
        };
        self.error(name, code, detail);
        None
    }

    fn error(&mut self, name: &str, code: &'static str, detail: String) {
        self.errors.push(FieldError::new(&format!("{}{name}", self.prefix), code, detail));
    }
}

/// What a withdrawal's events do is paid for, so nobody but its transitions writes them.
fn read_aggregate_type(text: &str) -> Result<String, Refusal> {
    if text == WITHDRAWAL {
        return Err(rejected(
            "is the host's own: a withdrawal's events are written by its transitions alone, and \
             it comes in by POST /v1/withdrawals",
        ));
    }
    match Aggregate::new(text, "x") {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(invalid(NAME_RULE)),
    }
}

/// A type that the host writes for withdrawals is refused for every aggregate: its plugin trusts
/// what it says.
fn read_event_type(text: &str, flow: &Flow) -> Result<EventType, Refusal> {
    let event_type: EventType = text.parse().map_err(|_| invalid(NAME_RULE))?;
    if event_types::ALL.contains(&text) || flow.writes(&event_type) {
        return Err(rejected("is the host's own: a withdrawal's transitions alone write it"));
    }
    Ok(event_type)
}

fn read_time(text: &str) -> Result<Timestamp, Refusal> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| invalid("needs a time of RFC 3339, such as 2030-01-31T12:00:00Z"))
}
