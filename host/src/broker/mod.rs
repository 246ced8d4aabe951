//! Where `messaging` ends: a broker that holds messages durably.
//!
//! Every broker keeps one promise: `Ok` means that the message is held, and a second message of the
//! same id changes nothing. So a publisher that does not know what happened publishes again.

mod memory;
mod nats;

use async_trait::async_trait;
use bytes::Bytes;

pub use memory::{MemoryBroker, StoredMessage};
pub use nats::{NatsBroker, NatsConfig, NatsLogin, NatsStream};

/// What a broker must do.
#[async_trait]
pub trait Broker: Send + Sync {
    /// Returns when the broker holds the message. A repeat of the id is `Ok` and adds nothing.
    async fn publish(&self, message: Message) -> Result<(), PublishError>;
}

/// A message on its way to a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Tokens of `A`–`Z`, `a`–`z`, `0`–`9`, `_` and `-`, joined by dots.
    pub topic: String,
    /// Brokers and consumers drop a second message of the same id.
    pub id: String,
    pub content_type: String,
    pub body: Bytes,
}

/// Why a message was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// This message will never be taken, so publishing it again is of no use.
    #[error("the broker refuses the message: {0}")]
    Refused(String),
    /// The broker did not confirm. It may hold the message: publish again with the same id.
    #[error("the broker did not confirm: {0}")]
    Unavailable(String),
}

impl Message {
    /// NATS and RabbitMQ both bound a name at 255 bytes.
    pub const TOPIC_BYTES_MAX: usize = 255;
    pub const ID_BYTES_MAX: usize = 255;
    pub const CONTENT_TYPE_BYTES_MAX: usize = 127;
    /// A NATS server takes 1 MiB by default, headers included; this leaves room for them.
    pub const BODY_BYTES_MAX: usize = 1024 * 1024 - 4096;

    /// Whether any broker could take this message.
    ///
    /// # Errors
    /// `Refused`, saying which part is malformed or too large.
    pub fn check(&self) -> Result<(), PublishError> {
        if !is_topic(&self.topic) {
            return Err(PublishError::Refused(format!(
                "topic {:?} needs tokens of A-Z, a-z, 0-9, _ and -, joined by dots, in at most {} bytes",
                self.topic.chars().take(80).collect::<String>(),
                Self::TOPIC_BYTES_MAX
            )));
        }
        // Both travel in headers, where a line break would begin another header.
        if !is_header_text(&self.id, Self::ID_BYTES_MAX) {
            return Err(PublishError::Refused(format!(
                "the id needs 1 to {} bytes of printable ASCII",
                Self::ID_BYTES_MAX
            )));
        }
        if !is_header_text(&self.content_type, Self::CONTENT_TYPE_BYTES_MAX) {
            return Err(PublishError::Refused(format!(
                "the content type needs 1 to {} bytes of printable ASCII",
                Self::CONTENT_TYPE_BYTES_MAX
            )));
        }
        if self.body.len() > Self::BODY_BYTES_MAX {
            return Err(PublishError::Refused(format!(
                "the body has {} bytes, more than {}",
                self.body.len(),
                Self::BODY_BYTES_MAX
            )));
        }
        Ok(())
    }
}

/// Whether `text` names one topic: no wildcards, no empty tokens.
#[must_use]
pub fn is_topic(text: &str) -> bool {
    text.len() <= Message::TOPIC_BYTES_MAX
        && text.split('.').all(|token| {
            !token.is_empty()
                && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        })
}

fn is_header_text(text: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&text.len())
        && text.trim() == text
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Message {
        Message {
            topic: "withdrawals.confirmed".to_owned(),
            id: "0197-1".to_owned(),
            content_type: "application/json".to_owned(),
            body: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn a_topic_is_tokens_joined_by_dots() {
        for good in ["a", "withdrawals.confirmed", "A-1.b_2.C", &"t".repeat(255)] {
            assert!(is_topic(good), "{good}");
        }
        for bad in ["", ".", "a.", ".a", "a..b", "a.*", "a.>", "a b", "ä", "a\n", &"t".repeat(256)]
        {
            assert!(!is_topic(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_message_that_no_broker_could_take_is_refused() {
        assert_eq!(message().check(), Ok(()));
        let bad = [
            Message { topic: "a..b".to_owned(), ..message() },
            Message { id: String::new(), ..message() },
            Message { id: "a\r\nX: y".to_owned(), ..message() },
            Message { id: "i".repeat(256), ..message() },
            Message { content_type: "text/plain\n".to_owned(), ..message() },
            Message { body: vec![0; Message::BODY_BYTES_MAX + 1].into(), ..message() },
        ];
        for message in bad {
            assert!(matches!(message.check(), Err(PublishError::Refused(_))), "{:?}", message.id);
        }
    }
}
