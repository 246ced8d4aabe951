//! What a test's target answers, and what it saw.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use wasip2::http::types::ErrorCode;

use crate::http::{HttpError, Phase, Prepared, Response, error_of};

/// What the target of a test answers to one request.
#[derive(Debug, Clone)]
#[must_use]
pub struct Reply(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Answer { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    // The host's own codes, so that a test sees them sorted as a component would.
    Fails(ErrorCode),
}

impl Reply {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self(Kind::Answer { status, headers: Vec::new(), body: Vec::new() })
    }

    /// An answer in JSON.
    pub fn json(status: u16, body: impl Into<Value>) -> Self {
        Self::status(status)
            .header("Content-Type", "application/json")
            .body(body.into().to_string())
    }

    /// An answer in plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::status(status).header("Content-Type", "text/plain").body(body.into())
    }

    /// Nobody listens there: nothing was sent.
    pub fn connection_refused() -> Self {
        Self(Kind::Fails(ErrorCode::ConnectionRefused))
    }

    /// The request was sent, and no answer came in time.
    pub fn timed_out() -> Self {
        Self(Kind::Fails(ErrorCode::HttpResponseTimeout))
    }

    /// The request was sent, and the connection was reset.
    pub fn reset() -> Self {
        Self(Kind::Fails(ErrorCode::ConnectionTerminated))
    }

    /// The answer broke off.
    pub fn truncated() -> Self {
        Self(Kind::Fails(ErrorCode::HttpResponseIncomplete))
    }

    /// The manifest does not grant the origin.
    pub fn denied() -> Self {
        Self(Kind::Fails(ErrorCode::HttpRequestDenied))
    }

    /// Adds a header to an answer.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        if let Kind::Answer { headers, .. } = &mut self.0 {
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// Gives an answer another body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Kind::Answer { body, .. } = &mut self.0 {
            *body = bytes.into();
        }
        self
    }

    pub(super) fn outcome(self, call: &str) -> Result<Response, HttpError> {
        match self.0 {
            Kind::Answer { status, headers, body } => Ok(Response::new(status, headers, body)),
            Kind::Fails(code) => Err(error_of(&code, Phase::Request, call)),
        }
    }
}

/// A request as the target of a test saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentRequest {
    /// For example `PUT`.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// In the order added.
    pub headers: Vec<(String, String)>,
    /// Empty where none was sent.
    pub body: Vec<u8>,
    /// What the handler asked for.
    pub timeout: Option<Duration>,
}

impl SentRequest {
    pub(super) fn of(prepared: &Prepared) -> Self {
        Self {
            method: prepared.method.clone(),
            url: prepared.url(),
            headers: prepared.headers.clone(),
            body: prepared.body.clone().unwrap_or_default(),
            timeout: prepared.timeout,
        }
    }

    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a type of yours.
    ///
    /// # Panics
    /// Where the body does not fit, for that is what the test wants to know.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("the body of {} {}: {error}", self.method, self.url),
        }
    }
}
