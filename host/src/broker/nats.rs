//! NATS JetStream.
//!
//! The connection is made at the first publication, so a broker that is down never keeps the host
//! from starting; afterwards the client connects again by itself. A message counts as held only
//! when the stream has acknowledged it.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, Context, message::PublishMessage, stream};
use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{Broker, Message, PublishError};

/// How to reach a NATS server.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    /// `nats://host:4222`, or `tls://host:4222`.
    pub url: String,
    pub login: NatsLogin,
    /// Created when missing. None: the operator has a stream that takes the topics.
    pub stream: Option<NatsStream>,
    /// Bounds one publication from its beginning to the acknowledgement.
    pub timeout: Duration,
}

/// Who the host is to the server.
#[derive(Clone)]
pub enum NatsLogin {
    Anonymous,
    Token(String),
    Password { user: String, password: String },
}

impl std::fmt::Debug for NatsLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration is logged at start; what it proves identity with is not.
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Token(_) => "Token(..)",
            Self::Password { .. } => "Password { .. }",
        })
    }
}

/// A stream that the host creates if the server does not have it. One that exists is left as it is.
#[derive(Debug, Clone)]
pub struct NatsStream {
    pub name: String,
    /// Which topics it takes; NATS wildcards are allowed here.
    pub subjects: Vec<String>,
    /// For how long the server drops a second message of the same id.
    pub duplicate_window: Duration,
}

impl NatsConfig {
    pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            login: NatsLogin::Anonymous,
            stream: None,
            timeout: Self::TIMEOUT_DEFAULT,
        }
    }
}

impl NatsStream {
    /// Longer than the retries that follow an outage of some minutes; the server keeps every id
    /// of this window in memory, so it is not a day.
    pub const DUPLICATE_WINDOW_DEFAULT: Duration = Duration::from_secs(3600);
}

/// A NATS JetStream server as a broker.
pub struct NatsBroker {
    config: NatsConfig,
    /// None until a connection was made once. The client behind it ends with the broker.
    context: Mutex<Option<Context>>,
}

impl NatsBroker {
    /// Does not connect.
    #[must_use]
    pub fn new(config: NatsConfig) -> Self {
        Self { config, context: Mutex::new(None) }
    }

    async fn publish_within_timeout(&self, message: Message) -> Result<(), PublishError> {
        let context = self.connected().await?;
        // A client that is not connected keeps messages in a queue until it is. They would be
        // sent much later, after this attempt has long been called a failure.
        if context.client().connection_state() != State::Connected {
            return Err(PublishError::Unavailable("not connected to the server".to_owned()));
        }
        let publish = PublishMessage::build()
            .payload(message.body)
            .message_id(&message.id)
            .header("Content-Type", message.content_type.as_str());
        let ack =
            context.send_publish(message.topic, publish).await.map_err(|error| classify(&error))?;
        ack.await.map(drop).map_err(|error| classify(&error))
    }

    /// The connection, made now if there never was one. Only the first publication waits here.
    async fn connected(&self) -> Result<Context, PublishError> {
        let mut slot = self.context.lock().await;
        if let Some(context) = &*slot {
            return Ok(context.clone());
        }
        let mut options = async_nats::ConnectOptions::new()
            .name("tidegate")
            .connection_timeout(self.config.timeout)
            .max_reconnects(None)
            .event_callback(|event| async move {
                tracing::info!(nats.event = %event, "the connection to NATS changed");
            });
        options = match self.config.login.clone() {
            NatsLogin::Anonymous => options,
            NatsLogin::Token(token) => options.token(token),
            NatsLogin::Password { user, password } => options.user_and_password(user, password),
        };
        let client = options.connect(self.config.url.as_str()).await.map_err(|error| {
            PublishError::Unavailable(format!("cannot connect to the server: {error}"))
        })?;
        let mut context = jetstream::new(client);
        context.set_timeout(self.config.timeout);
        if let Some(wanted) = &self.config.stream {
            ensure_stream(&context, wanted).await?;
        }
        *slot = Some(context.clone());
        Ok(context)
    }

    /// The server lost the stream after we connected (its store was wiped): make it again for the
    /// next attempt.
    async fn restore_stream(&self) {
        let context = self.context.lock().await.clone();
        let (Some(context), Some(wanted)) = (context, &self.config.stream) else { return };
        if let Err(error) = ensure_stream(&context, wanted).await {
            tracing::warn!(%error, nats.stream = wanted.name, "cannot create the stream");
        }
    }
}

#[async_trait]
impl Broker for NatsBroker {
    async fn publish(&self, message: Message) -> Result<(), PublishError> {
        message.check()?;
        let topic = message.topic.clone();
        let attempt = async {
            let result = self.publish_within_timeout(message).await;
            if matches!(&result, Err(PublishError::Unavailable(text)) if text == NO_STREAM) {
                self.restore_stream().await;
                return Err(PublishError::Unavailable(format!("no stream takes topic {topic}")));
            }
            result
        };
        match tokio::time::timeout(self.config.timeout, attempt).await {
            Ok(result) => result,
            Err(_elapsed) => Err(PublishError::Unavailable(format!(
                "no acknowledgement within {} ms",
                self.config.timeout.as_millis()
            ))),
        }
    }
}

const NO_STREAM: &str = "no stream takes the topic";

async fn ensure_stream(context: &Context, wanted: &NatsStream) -> Result<(), PublishError> {
    let config = stream::Config {
        name: wanted.name.clone(),
        subjects: wanted.subjects.clone(),
        duplicate_window: wanted.duplicate_window,
        ..Default::default()
    };
    context.get_or_create_stream(config).await.map(drop).map_err(|error| {
        PublishError::Unavailable(format!("cannot create stream {}: {error}", wanted.name))
    })
}

fn classify(error: &jetstream::context::PublishError) -> PublishError {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => PublishError::Refused(error.to_string()),
        PublishErrorKind::StreamNotFound => PublishError::Unavailable(NO_STREAM.to_owned()),
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::Other => PublishError::Unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
