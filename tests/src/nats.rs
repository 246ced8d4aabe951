//! A real broker: `nats-server` with JetStream.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream;

use crate::broker::Message;
use crate::eventually::eventually;
use crate::machine::free_port;
use crate::process::{Process, Signal};
use crate::skip::skip;

const STARTED_WITHIN: Duration = Duration::from_secs(20);
/// Zero would mean the server's default.
const SHORTEST_WINDOW: Duration = Duration::from_millis(100);

/// A running server.
#[derive(Debug)]
pub struct Nats {
    pub url: String,
    _process: Process,
}

impl Nats {
    /// None, with a line that says so, where there is no server.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start(folder: &Path) -> Option<Self> {
        if Command::new("nats-server").arg("--version").output().is_err() {
            skip("nats-server is not installed", "apt-get install nats-server");
            return None;
        }
        let port = free_port();
        let process = Process::start(folder, "nats", Signal::Kill, |command| {
            command.args(["nats-server", "-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]);
            command.arg(folder.join("nats"));
        });
        let url = format!("nats://127.0.0.1:{port}");
        eventually("nats-server answers", STARTED_WITHIN, async || {
            async_nats::connect(&url).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Some(Self { url, _process: process })
    }

    /// Makes a stream whose memory of message ids is as short as can be, so that it shows repeats.
    ///
    /// # Panics
    /// The server refuses.
    pub async fn create_stream(&self, name: &str, subject: &str) {
        let client = async_nats::connect(&self.url).await.unwrap();
        let config = jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            duplicate_window: SHORTEST_WINDOW,
            ..Default::default()
        };
        jetstream::new(client).create_stream(config).await.unwrap();
    }

    /// Everything that a stream holds, in its order.
    ///
    /// # Panics
    /// There is no such stream.
    pub async fn messages(&self, stream: &str) -> Vec<Message> {
        let client = async_nats::connect(&self.url).await.unwrap();
        let stream = jetstream::new(client).get_stream(stream).await.unwrap();
        let state = stream.get_info().await.unwrap().state;
        let mut messages = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            let held = stream.get_raw_message(sequence).await.unwrap();
            let body = serde_json::from_slice(&held.payload).expect("a CloudEvent is JSON");
            messages.push(Message { topic: held.subject.to_string(), body });
        }
        messages
    }
}
