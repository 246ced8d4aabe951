//! A stand-in for the event stream: what is published lies in a journal and is read over HTTP.
//!
//! `GET /messages` lists the messages in the order in which they were taken; `/_faults` makes
//! publications fail.

mod http;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::hex;
use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::fault::Switch;
use super::journal::Journal;
use super::server::Server;
use super::{Clock, SandboxError};
use crate::broker::{Broker, Message, PublishError, StoredMessage};

/// Keeps a runaway test from eating the machine.
const MESSAGES_MAX: usize = 1_000_000;

/// How the event stream can misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventStreamFault {
    /// Nothing is taken.
    Down,
    /// The message is held, and the publisher is told that it is not known.
    DropAfterEffect,
}

/// A running event stream. Dropping it stops it.
#[derive(Debug)]
pub struct EventStream {
    shared: Arc<Shared>,
    server: Server,
}

/// What publishers and the HTTP routes share.
#[derive(Debug)]
struct Shared {
    held: Mutex<Held>,
    journal: Journal,
    faults: Switch<EventStreamFault>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Held {
    messages: Vec<HeldMessage>,
    ids: HashSet<String>,
}

#[derive(Debug, Clone)]
struct HeldMessage {
    stored: StoredMessage,
    published_at_ms: u64,
}

/// A message as the journal has it.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    topic: String,
    id: String,
    content_type: String,
    body: LineBody,
    at_ms: u64,
}

/// Text stays readable in the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum LineBody {
    Text(String),
    Hex(String),
}

impl Held {
    fn push(&mut self, message: Message, published_at_ms: u64) {
        self.ids.insert(message.id.clone());
        let sequence = self.messages.len() as u64 + 1;
        let stored = StoredMessage { sequence, message };
        self.messages.push(HeldMessage { stored, published_at_ms });
    }
}

impl Line {
    fn new(message: &Message, at_ms: u64) -> Self {
        let body = match std::str::from_utf8(&message.body) {
            Ok(text) => LineBody::Text(text.to_owned()),
            Err(_) => LineBody::Hex(hex::encode(&message.body)),
        };
        Self {
            topic: message.topic.clone(),
            id: message.id.clone(),
            content_type: message.content_type.clone(),
            body,
            at_ms,
        }
    }

    fn into_message(self) -> Result<Message, String> {
        let body = match self.body {
            LineBody::Text(text) => Bytes::from(text),
            LineBody::Hex(text) => {
                hex::decode(text).map(Bytes::from).map_err(|error| error.to_string())?
            }
        };
        Ok(Message { topic: self.topic, id: self.id, content_type: self.content_type, body })
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Broker for Shared {
    async fn publish(&self, message: Message) -> Result<(), PublishError> {
        message.check()?;
        let fault = self.faults.strike();
        if fault == Some(EventStreamFault::Down) {
            return Err(PublishError::Unavailable("the event stream is down".to_owned()));
        }
        let mut held = self.held();
        if !held.ids.contains(&message.id) {
            if held.messages.len() >= MESSAGES_MAX {
                return Err(PublishError::Unavailable("the event stream is full".to_owned()));
            }
            let at_ms = self.clock.now_ms();
            self.journal
                .append(&Line::new(&message, at_ms))
                .map_err(|error| PublishError::Unavailable(error.to_string()))?;
            held.push(message, at_ms);
        }
        if fault == Some(EventStreamFault::DropAfterEffect) {
            return Err(PublishError::Unavailable("no acknowledgement came".to_owned()));
        }
        Ok(())
    }
}

impl EventStream {
    /// Reads the journal and begins to serve.
    ///
    /// # Errors
    /// The journal cannot be read, or the listener is of no use.
    pub fn start(
        journal: &Path,
        listener: TcpListener,
        clock: Clock,
    ) -> Result<Self, SandboxError> {
        let mut held = Held::default();
        let journal = Journal::open(journal, |line: Line| {
            let at_ms = line.at_ms;
            held.push(line.into_message()?, at_ms);
            Ok(())
        })?;
        let shared =
            Arc::new(Shared { held: Mutex::new(held), journal, faults: Switch::default(), clock });
        let router = http::router(Arc::clone(&shared));
        let server = Server::start("broker", listener, router, CancellationToken::new())
            .map_err(|source| SandboxError::Serve { stand_in: "broker", source })?;
        Ok(Self { shared, server })
    }

    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The door for publishers. After the stop it answers `Unavailable`.
    #[must_use]
    pub fn broker(&self) -> Arc<dyn Broker> {
        Arc::clone(&self.shared) as Arc<dyn Broker>
    }

    /// Everything that was taken, oldest first.
    #[must_use]
    pub fn messages(&self) -> Vec<StoredMessage> {
        self.shared.held().messages.iter().map(|held| held.stored.clone()).collect()
    }

    /// Replaces the fault that was set before. `count`: for how many publications; none means
    /// until it is cleared.
    pub fn set_fault(&self, fault: EventStreamFault, count: Option<u32>) {
        self.shared.faults.set(fault, count);
    }

    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Finishes the requests in hand and stops.
    pub async fn shutdown(mut self) {
        self.server.stop().await;
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        // Publishers may hold the door longer; from now on it is shut.
        self.shared.journal.close();
    }
}
