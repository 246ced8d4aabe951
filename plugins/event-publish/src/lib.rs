//! Publishes what happens to withdrawals as CloudEvents 1.0, in the structured JSON form.
//!
//! The message's id is the event's id, and the same on every attempt: whoever sees it twice drops
//! the second. That is why a broker that did not confirm is simply asked again.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_plugin::{
    Event, Failure, Handler, Receipt, done,
    messaging::{self, Message},
    reject, settings,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// `WITHDRAWAL_REQUESTED` goes to `{topic_prefix}.withdrawal_requested`: one level below the
    /// prefix, so that the grant `tidegate.*` covers it in every broker's manner of speaking.
    #[serde(default = "prefix")]
    topic_prefix: String,
    /// Of type `{type_prefix}.withdrawal.requested`.
    #[serde(default = "prefix")]
    type_prefix: String,
    /// Who says so: a URI reference.
    #[serde(default = "source")]
    source: String,
}

fn prefix() -> String {
    "tidegate".into()
}

fn source() -> String {
    "/tidegate".into()
}

/// The envelope. Its names and their order are those of the CloudEvents specification.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    event_type: String,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    /// The extension for distributed tracing.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    /// As it lies in the outbox, to the letter: no number passes through a parser.
    data: &'a RawValue,
}

pub(crate) struct EventPublish;

tidegate_plugin::export_handler!(EventPublish);

impl Handler for EventPublish {
    fn handle(event: &Event) -> Result<Receipt, Failure> {
        let settings: Settings = settings::get()?;
        let data: &RawValue = serde_json::from_str(&event.raw_payload)
            .map_err(|error| reject(format!("the payload is no JSON: {error}")))?;
        let name = event.event_type.to_ascii_lowercase();
        let topic = format!("{}.{name}", settings.topic_prefix);
        let cloud_event = CloudEvent {
            specversion: "1.0",
            id: &event.id,
            source: &settings.source,
            event_type: format!("{}.{}", settings.type_prefix, name.replace('_', ".")),
            subject: &event.aggregate_id,
            time: event.created_at(),
            datacontenttype: "application/json",
            traceparent: event.traceparent.as_deref(),
            data,
        };
        let body = serde_json::to_vec(&cloud_event)
            .map_err(|error| reject(format!("the event cannot be written as JSON: {error}")))?;
        messaging::publish(Message {
            topic: topic.clone(),
            id: event.id.clone(),
            content_type: "application/cloudevents+json".into(),
            body,
        })?;
        Ok(done().detail(serde_json::json!({ "topic": topic, "message_id": event.id })))
    }
}

#[cfg(test)]
mod tests;
