//! `messaging`: messages to the operator's broker.

use super::super::bindings::imported::messaging::{Host, Message, PublishError};
use super::super::limits::size;
use super::super::services;
use super::super::state::CallState;
use super::super::targets::BROKER;

/// An id or a content type longer than this is refused.
const NAME_BYTES_MAX: usize = 256;

impl Host for CallState {
    async fn publish(&mut self, message: Message) -> Result<(), PublishError> {
        let facts = &self.facts;
        let manifest = &facts.release.manifest;
        if !manifest.grants.topic(&message.topic) {
            let topic: String = message.topic.chars().take(128).collect();
            let reason = format!(
                "the topic {topic:?} is not granted: to allow it, put it into grants.topics of {}",
                manifest.name
            );
            facts.note(reason.clone());
            return Err(PublishError::Denied(reason));
        }
        for (what, text) in [("id", &message.id), ("content type", &message.content_type)] {
            if text.is_empty()
                || text.len() > NAME_BYTES_MAX
                || !text.bytes().all(|b| (b' '..=b'~').contains(&b))
            {
                return Err(PublishError::Refused(format!(
                    "the {what} needs 1 to {NAME_BYTES_MAX} printable ASCII characters"
                )));
            }
        }
        if message.body.len() as u64 > manifest.limits.request_body {
            return Err(PublishError::Refused(format!(
                "limit {} of a message's body reached",
                size(manifest.limits.request_body)
            )));
        }
        let (_, services) = facts.working().map_err(PublishError::Unavailable)?;
        facts.count_request().map_err(PublishError::Refused)?;
        if !facts.targets.may_ask(BROKER).await {
            let reason = format!("the breaker of {BROKER} is open: nothing was sent");
            facts.note(reason.clone());
            return Err(PublishError::Unavailable(reason));
        }
        facts.departs();
        let outgoing = services::OutgoingMessage {
            topic: message.topic,
            id: message.id,
            content_type: message.content_type,
            body: message.body,
        };
        facts.targets.asked(BROKER);
        let published = services.messaging.publish(outgoing).await;
        if !matches!(published, Err(services::PublishError::Unavailable(_))) {
            facts.targets.answered(BROKER);
        }
        published.map_err(|error| match error {
            services::PublishError::Refused(reason) => {
                // The broker did not take it, so nothing has left.
                facts.stayed();
                PublishError::Refused(reason)
            }
            services::PublishError::Unavailable(reason) => PublishError::Unavailable(reason),
        })
    }
}
