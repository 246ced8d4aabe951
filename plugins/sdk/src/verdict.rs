//! What a handler answers: it is done, or why not and what the host should do about it.

use std::time::Duration;

use serde_json::Value;

use crate::{
    checkpoint::CheckpointError, event::PayloadError, http::BodyError, http::HttpError,
    messaging::PublishError, secrets::SecretError, settings::SettingsError, signer::SignError,
};

/// The handler did what the event asks for. Made by [`done`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Receipt {
    /// JSON text that is kept with the event and shown to operators.
    pub detail: Option<String>,
    /// What became of the withdrawal.
    pub transition: Option<Transition>,
    /// Events that are written in the same transaction as this verdict.
    pub follow_ups: Vec<FollowUp>,
}

impl Receipt {
    /// Kept with the event and shown to operators. Put the target's own reference here.
    pub fn detail(self, detail: impl Into<Value>) -> Self {
        self.detail_text(detail.into().to_string())
    }

    /// The same, for JSON text that is passed on as the target gave it. The host refuses a receipt
    /// whose text is not JSON.
    pub fn detail_text(mut self, json: impl Into<String>) -> Self {
        self.detail = Some(json.into());
        self
    }

    /// The signed transaction was handed to the network. Needs `broadcasted` in the manifest's
    /// `grants.transitions`.
    pub fn broadcasted(mut self) -> Self {
        self.transition = Some(Transition::Broadcasted);
        self
    }

    /// The withdrawal can never be carried out, and why. Needs `failed` in the manifest's
    /// `grants.transitions`, and the host refuses it once anything was signed.
    pub fn failed(mut self, reason: impl Into<String>) -> Self {
        self.transition = Some(Transition::Failed(reason.into()));
        self
    }

    /// An event for another target, about the same aggregate. The manifest's `grants.follow_ups`
    /// lists the types that a handler may write.
    pub fn follow_up(mut self, event_type: impl Into<String>, payload: impl Into<Value>) -> Self {
        self.follow_ups
            .push(FollowUp { event_type: event_type.into(), payload: payload.into().to_string() });
        self
    }
}

/// What became of the withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// The signed transaction was handed to the network.
    Broadcasted,
    /// It can never be carried out, and why.
    Failed(String),
}

/// An event that is written together with the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowUp {
    /// The routing key.
    pub event_type: String,
    /// JSON text.
    pub payload: String,
}

/// The event was not carried out, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It did not happen, or doing it again is harmless. Made by [`retry`] and [`retry_after`].
    #[error("retry: {reason}")]
    Retry {
        /// For people: shown in the attempt's history.
        reason: String,
        /// How long to wait instead of the manifest's backoff.
        after: Option<Duration>,
    },
    /// It may have happened: find out first. Made by [`unknown`].
    #[error("unknown: {0}")]
    Unknown(String),
    /// Not ready yet, and no attempt is counted. Made by [`defer`].
    #[error("not ready; again in {0:?}")]
    Defer(Duration),
    /// It will never work. Made by [`reject`].
    #[error("rejected: {0}")]
    Reject(String),
}

/// What [`Reconciler::reconcile`](crate::Reconciler::reconcile) found out at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The earlier attempt did its work.
    Happened(Receipt),
    /// It left no trace: the host calls `handle` again.
    DidNotHappen,
}

/// The event was carried out.
///
/// ```
/// # use tidegate_plugin::done;
/// let receipt = done().detail(serde_json::json!({ "reference": "P-17" }));
/// assert_eq!(receipt.detail.as_deref(), Some(r#"{"reference":"P-17"}"#));
/// ```
pub fn done() -> Receipt {
    Receipt::default()
}

/// It did not happen, or doing it again is harmless. Counts as an attempt; the host waits as the
/// manifest's `[retry]` says.
///
/// ```
/// # use tidegate_plugin::{Event, Failure, Receipt, retry};
/// fn handle(_: &Event) -> Result<Receipt, Failure> {
///     Err(retry("the mail server has no room"))
/// }
/// ```
pub fn retry(reason: impl Into<String>) -> Failure {
    Failure::Retry { reason: reason.into(), after: None }
}

/// Like [`retry`], and the target said how long to wait.
pub fn retry_after(reason: impl Into<String>, after: Duration) -> Failure {
    Failure::Retry { reason: reason.into(), after: Some(after) }
}

/// It may have happened: the request was sent and no answer came. The host asks
/// [`Reconciler::reconcile`](crate::Reconciler::reconcile) next, where the plugin has one.
pub fn unknown(reason: impl Into<String>) -> Failure {
    Failure::Unknown(reason.into())
}

/// Not ready yet: come back later. No attempt is counted.
#[must_use]
pub fn defer(after: Duration) -> Failure {
    Failure::Defer(after)
}

/// It will never work. The event is FAILED at once, with this reason.
pub fn reject(reason: impl Into<String>) -> Failure {
    Failure::Reject(reason.into())
}

impl From<PayloadError> for Failure {
    fn from(error: PayloadError) -> Self {
        reject(error.to_string())
    }
}

/// Retried, for the operator can repair the manifest while the event waits.
impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        retry(error.to_string())
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        let reason = error.to_string();
        match error {
            HttpError::Invalid(_) => reject(reason),
            HttpError::Denied(_) | HttpError::NotSent(_) => retry(reason),
            HttpError::MayHaveBeenSent(_) => unknown(reason),
        }
    }
}

/// Unknown, for the target did answer: only what it said cannot be read.
impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        unknown(error.to_string())
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        let reason = error.to_string();
        match error {
            SecretError::Denied(_) => reject(reason),
            SecretError::Unavailable(_) => retry(reason),
        }
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        let reason = error.to_string();
        match error {
            CheckpointError::TooLarge(_) | CheckpointError::Unreadable(_) => reject(reason),
            CheckpointError::Unavailable(_) => retry(reason),
        }
    }
}

/// What the broker may hold already is published again with the same id, which is harmless.
impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        let reason = error.to_string();
        match error {
            PublishError::Denied(_) | PublishError::Refused(_) => reject(reason),
            PublishError::Unavailable(_) => retry(reason),
        }
    }
}

/// A signer that asks to wait costs no attempt; one that refuses is final.
impl From<SignError> for Failure {
    fn from(error: SignError) -> Self {
        /// Funds arrive and frozen accounts are looked at by people: seconds are soon enough.
        const WAIT: Duration = Duration::from_secs(5);
        let reason = error.to_string();
        match error {
            SignError::Denied(_) | SignError::Refused(_) => reject(reason),
            SignError::Wait(_) => {
                crate::log::info(&reason);
                defer(WAIT)
            }
            SignError::Unavailable(_) => retry(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::JsonError;

    fn flaw() -> JsonError {
        JsonError { path: "amount".into(), message: "expected a string".into() }
    }

    #[test]
    fn every_error_becomes_the_verdict_that_is_safe() {
        let text = String::from("why");
        let cases: [(Failure, &str); 17] = [
            (PayloadError(flaw()).into(), "reject"),
            (SettingsError(flaw()).into(), "retry"),
            (HttpError::Invalid(text.clone()).into(), "reject"),
            (HttpError::Denied(text.clone()).into(), "retry"),
            (HttpError::NotSent(text.clone()).into(), "retry"),
            (HttpError::MayHaveBeenSent(text.clone()).into(), "unknown"),
            (BodyError { status: 200, source: flaw() }.into(), "unknown"),
            (SecretError::Denied(text.clone()).into(), "reject"),
            (SecretError::Unavailable(text.clone()).into(), "retry"),
            (CheckpointError::TooLarge(text.clone()).into(), "reject"),
            (CheckpointError::Unavailable(text.clone()).into(), "retry"),
            (PublishError::Denied(text.clone()).into(), "reject"),
            (PublishError::Refused(text.clone()).into(), "reject"),
            (PublishError::Unavailable(text.clone()).into(), "retry"),
            (SignError::Refused(text.clone()).into(), "reject"),
            (SignError::Wait(text.clone()).into(), "defer"),
            (SignError::Unavailable(text).into(), "retry"),
        ];
        for (failure, expected) in cases {
            let verdict = match &failure {
                Failure::Retry { .. } => "retry",
                Failure::Unknown(_) => "unknown",
                Failure::Defer(_) => "defer",
                Failure::Reject(_) => "reject",
            };
            assert_eq!(verdict, expected, "{failure}");
        }
    }

    #[test]
    fn a_receipt_is_put_together_step_by_step() {
        let receipt = done()
            .detail(serde_json::json!({ "ref": 1 }))
            .broadcasted()
            .follow_up("NEXT", serde_json::json!({ "a": null }));
        assert_eq!(receipt.detail.as_deref(), Some(r#"{"ref":1}"#));
        assert_eq!(receipt.transition, Some(Transition::Broadcasted));
        assert_eq!(receipt.follow_ups[0].payload, r#"{"a":null}"#);
    }
}
