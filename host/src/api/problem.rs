//! Refusals as the caller sees them: RFC 9457 problem documents.
//!
//! A kind has a stable `type`, for programs; the texts are for people and may change. What is wrong
//! inside the host is logged here, once, and never sent.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::store::StoreError;

/// Every kind of problem that the API can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    InvalidJson,
    InvalidQuery,
    InvalidFields,
    IdempotencyKeyMissing,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    IdempotencyKeyInFlight,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    UnsupportedMediaType,
    EventNotFailed,
    BacklogTooOld,
    EventNotCancellable,
    WithdrawalNotCancellable,
    EventKeyTaken,
    ReleasesNotFromStore,
    ReleaseConflict,
    WithdrawalNotApprovable,
    WithdrawalSigned,
    Internal,
    Unavailable,
    Overloaded,
    NotReady,
}

impl ProblemKind {
    pub const ALL: [Self; 27] = [
        Self::InvalidJson,
        Self::InvalidQuery,
        Self::InvalidFields,
        Self::IdempotencyKeyMissing,
        Self::IdempotencyKeyInvalid,
        Self::IdempotencyKeyReused,
        Self::IdempotencyKeyInFlight,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::EventNotFailed,
        Self::BacklogTooOld,
        Self::EventNotCancellable,
        Self::WithdrawalNotCancellable,
        Self::EventKeyTaken,
        Self::ReleasesNotFromStore,
        Self::ReleaseConflict,
        Self::WithdrawalNotApprovable,
        Self::WithdrawalSigned,
        Self::Internal,
        Self::Unavailable,
        Self::Overloaded,
        Self::NotReady,
    ];

    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InvalidJson
            | Self::InvalidQuery
            | Self::IdempotencyKeyMissing
            | Self::IdempotencyKeyInvalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::IdempotencyKeyInFlight
            | Self::EventNotFailed
            | Self::EventNotCancellable
            | Self::WithdrawalNotCancellable
            | Self::EventKeyTaken
            | Self::ReleasesNotFromStore
            | Self::ReleaseConflict
            | Self::WithdrawalNotApprovable
            | Self::WithdrawalSigned => StatusCode::CONFLICT,
            Self::BacklogTooOld => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidFields | Self::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable | Self::Overloaded | Self::NotReady => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The last part of the `type`. Programs compare it, so it never changes.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::InvalidJson => "invalid-json",
            Self::InvalidQuery => "invalid-query",
            Self::InvalidFields => "invalid-fields",
            Self::IdempotencyKeyMissing => "idempotency-key-missing",
            Self::IdempotencyKeyInvalid => "idempotency-key-invalid",
            Self::IdempotencyKeyReused => "idempotency-key-reused",
            Self::IdempotencyKeyInFlight => "idempotency-key-in-flight",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::RequestTimeout => "request-timeout",
            Self::BodyTooLarge => "body-too-large",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::EventNotFailed => "event-not-failed",
            Self::BacklogTooOld => "backlog-too-old",
            Self::EventNotCancellable => "event-not-cancellable",
            Self::WithdrawalNotCancellable => "withdrawal-not-cancellable",
            Self::EventKeyTaken => "event-key-taken",
            Self::ReleasesNotFromStore => "releases-not-from-store",
            Self::ReleaseConflict => "release-conflict",
            Self::WithdrawalNotApprovable => "withdrawal-not-approvable",
            Self::WithdrawalSigned => "withdrawal-signed",
            Self::Internal => "internal-error",
            Self::Unavailable => "unavailable",
            Self::Overloaded => "overloaded",
            Self::NotReady => "not-ready",
        }
    }

    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::InvalidJson => "The body is not valid JSON",
            Self::InvalidQuery => "The query has parameters that are not valid",
            Self::InvalidFields => "The request has fields that are not valid",
            Self::IdempotencyKeyMissing => "The Idempotency-Key header is missing",
            Self::IdempotencyKeyInvalid => "The Idempotency-Key header is not valid",
            Self::IdempotencyKeyReused => "The idempotency key was used for another request",
            Self::IdempotencyKeyInFlight => "A request with this idempotency key is in flight",
            Self::Unauthenticated => "A valid token is needed",
            Self::Forbidden => "The token does not allow this",
            Self::NotFound => "There is nothing here",
            Self::MethodNotAllowed => "The method is not allowed here",
            Self::RequestTimeout => "The request did not arrive in time",
            Self::BodyTooLarge => "The body is too large",
            Self::UnsupportedMediaType => "The content type is not supported",
            Self::EventNotFailed => "Only failed events can be replayed or skipped",
            Self::EventNotCancellable => "The event cannot be cancelled",
            Self::WithdrawalNotCancellable => "The withdrawal cannot be cancelled",
            Self::EventKeyTaken => "An event's idempotency key is in the outbox already",
            Self::ReleasesNotFromStore => "The hosts take their plugins from folders",
            Self::ReleaseConflict => "The release is not in a state for this",
            Self::WithdrawalNotApprovable => "The withdrawal takes no approval",
            Self::WithdrawalSigned => "Something is signed for the withdrawal",
            Self::BacklogTooOld => "Too much is waiting for too long",
            Self::Internal => "Something is wrong inside the host",
            Self::Unavailable => "The host cannot do this now",
            Self::Overloaded => "The host has too much in hand",
            Self::NotReady => "The host is not ready",
        }
    }
}

/// One wrong field, parameter or header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    pub field: String,
    pub detail: String,
    /// For programs: `required`, `unknown`, `duplicate`, `wrong_type`, `invalid`, `rejected`,
    /// `taken`.
    pub code: &'static str,
}

impl FieldError {
    pub(super) fn new(field: &str, code: &'static str, detail: impl Into<String>) -> Self {
        // Names come from strangers: enough of one to recognise it.
        Self { field: field.chars().take(80).collect(), detail: detail.into(), code }
    }
}

/// A refusal, on its way to the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    pub detail: String,
    pub errors: Vec<FieldError>,
    pub retry_after_s: Option<u32>,
    pub www_authenticate: Option<&'static str>,
}

/// What a caller should wait before it asks a host again that cannot answer now.
const UNAVAILABLE_RETRY_S: u32 = 5;

/// More than this many wrong fields help nobody; a hostile body could name thousands.
const ERRORS_MAX: usize = 32;

impl Problem {
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
            www_authenticate: None,
        }
    }

    #[must_use]
    pub fn with_errors(kind: ProblemKind, mut errors: Vec<FieldError>) -> Self {
        errors.truncate(ERRORS_MAX);
        let named: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        let detail = format!("Correct {} and send the request again.", named.join(", "));
        Self { errors, ..Self::new(kind, detail) }
    }

    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// The host, not the caller, must change something first. `detail` is sent.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::Unavailable, detail).retry_after(UNAVAILABLE_RETRY_S)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(ProblemKind::NotFound, format!("No {what} has this id."))
    }
}

/// Logs what the store said, and keeps it from the caller.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable { fault, .. } => {
                tracing::warn!(%error, "a request was refused because the store is unavailable");
                Self::unavailable(format!(
                    "{fault} Send the same request again later; with the same Idempotency-Key \
                     nothing is done twice."
                ))
            }
            StoreError::CorruptRow { .. } | StoreError::Conflict { .. } => {
                tracing::error!(%error, "a request failed in the store");
                Self::new(ProblemKind::Internal, "The host's log says what went wrong.")
            }
        }
    }
}

#[derive(Serialize)]
struct ProblemView<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let view = ProblemView {
            r#type: format!("/problems/{}", self.kind.slug()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            errors: &self.errors,
        };
        let mut response = (self.kind.status(), axum::Json(view)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.www_authenticate {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::store::StoreFault;

    #[test]
    fn every_kind_has_a_type_of_its_own_and_an_error_status() {
        let slugs: HashSet<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            let status = kind.status();
            assert!(status.is_client_error() || status.is_server_error(), "{kind:?}");
            assert!(kind.slug().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{kind:?}");
        }
    }

    #[test]
    fn what_the_store_says_stays_inside() {
        let secret = || "password=hunter2".to_owned();
        for error in [
            StoreError::Unavailable { doing: "read", fault: StoreFault::DiskFull, cause: secret() },
            StoreError::CorruptRow { table: "withdrawals", row: secret(), what: secret() },
            StoreError::Conflict { doing: "write", cause: secret() },
        ] {
            let problem = Problem::from(error);
            assert!(!format!("{problem:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_hostile_body_cannot_make_the_answer_grow() {
        let many = (0..1000).map(|i| FieldError::new(&i.to_string(), "unknown", "x")).collect();
        let problem = Problem::with_errors(ProblemKind::InvalidFields, many);
        assert_eq!(problem.errors.len(), ERRORS_MAX);
        assert_eq!(FieldError::new(&"x".repeat(999), "unknown", "x").field.len(), 80);
    }
}
