//! Messages to the operator's broker.

use crate::backend;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The manifest does not grant the topic.
    #[error("the topic is not granted: {0}")]
    Denied(String),
    /// The broker will not take this message: too large, or a malformed topic.
    #[error("the broker refused the message: {0}")]
    Refused(String),
    /// The broker did not confirm. It may hold the message: publish again with the same id.
    #[error("the broker did not confirm: {0}")]
    Unavailable(String),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it goes. Needs `grants.topics`.
    pub topic: String,
    /// Consumers and brokers drop a second message of the same id.
    pub id: String,
    /// For example `application/cloudevents+json`.
    pub content_type: String,
    /// What consumers read.
    pub body: Vec<u8>,
}

/// Publishes a message. Returns when the broker has confirmed that it holds it.
///
/// # Errors
/// See [`PublishError`].
pub fn publish(message: Message) -> Result<(), PublishError> {
    backend::publish(message)
}
