//! A broker in memory, for tests: it forgets everything when it is dropped.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Broker, Message, PublishError};

/// A message as the broker holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// 1 for the first message, and one more for each that follows.
    pub sequence: u64,
    pub message: Message,
}

/// Holds at most [`MemoryBroker::MESSAGES_MAX`] messages, in the order of their arrival.
#[derive(Debug, Default)]
pub struct MemoryBroker {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    messages: Vec<StoredMessage>,
    ids: HashSet<String>,
    outage: Option<String>,
}

impl MemoryBroker {
    /// More than a test needs; it only keeps a runaway test from eating the machine.
    pub const MESSAGES_MAX: usize = 1_000_000;

    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything that was published, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<StoredMessage> {
        self.lock().messages.clone()
    }

    /// Lets every publication fail as unavailable, until `None` is given.
    pub fn set_outage(&self, reason: Option<&str>) {
        self.lock().outage = reason.map(str::to_owned);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        // Nothing under this lock can stop half way, so a poisoned state is still whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, message: Message) -> Result<(), PublishError> {
        message.check()?;
        let mut held = self.lock();
        if let Some(reason) = &held.outage {
            return Err(PublishError::Unavailable(reason.clone()));
        }
        if held.ids.contains(&message.id) {
            return Ok(());
        }
        if held.messages.len() >= Self::MESSAGES_MAX {
            return Err(PublishError::Unavailable("the broker is full".to_owned()));
        }
        held.ids.insert(message.id.clone());
        let sequence = held.messages.last().map_or(1, |last| last.sequence + 1);
        held.messages.push(StoredMessage { sequence, message });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(id: &str) -> Message {
        Message {
            topic: "t".to_owned(),
            id: id.to_owned(),
            content_type: "text/plain".to_owned(),
            body: Bytes::from_static(b"x"),
        }
    }

    #[tokio::test]
    async fn a_repeated_id_adds_nothing() {
        let broker = MemoryBroker::new();
        for id in ["a", "b", "a"] {
            broker.publish(message(id)).await.unwrap();
        }
        let ids: Vec<_> =
            broker.messages().into_iter().map(|m| (m.sequence, m.message.id)).collect();
        assert_eq!(ids, [(1, "a".to_owned()), (2, "b".to_owned())]);
    }

    #[tokio::test]
    async fn an_outage_fails_publications_until_it_ends() {
        let broker = MemoryBroker::new();
        broker.set_outage(Some("down"));
        assert_eq!(
            broker.publish(message("a")).await,
            Err(PublishError::Unavailable("down".to_owned()))
        );
        broker.set_outage(None);
        broker.publish(message("a")).await.unwrap();
        assert_eq!(broker.messages().len(), 1);
    }
}
