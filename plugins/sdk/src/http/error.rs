//! What went wrong with a call, sorted by the one question that matters: may it have arrived?

use wasip2::http::types::ErrorCode;

use crate::json::JsonError;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// No such request can be sent by anyone: a malformed address, header or body.
    #[error("the request is malformed: {0}")]
    Invalid(String),
    /// The host did not let it out, for lack of a grant.
    #[error("the host denied the request: {0}")]
    Denied(String),
    /// The target was not reached: nothing was sent.
    #[error("nothing was sent: {0}")]
    NotSent(String),
    /// The request may have arrived and been acted on; the answer is missing or incomplete.
    #[error("no answer, but the request may have arrived: {0}")]
    MayHaveBeenSent(String),
}

impl HttpError {
    /// True where the target cannot have seen the request, so that sending it again cannot do
    /// anything twice.
    #[must_use]
    pub fn was_not_sent(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Denied(_) | Self::NotSent(_) => true,
            Self::MayHaveBeenSent(_) => false,
        }
    }
}

/// The answer came, and its body is not what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the answer (status {status}) cannot be read: {source}")]
pub struct BodyError {
    /// The answer's status.
    pub status: u16,
    /// What is wrong with it.
    pub source: JsonError,
}

/// How far a call had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No answer was seen.
    Request,
    /// The answer had begun, so the request certainly arrived.
    #[cfg_attr(
        not(any(target_arch = "wasm32", test)),
        allow(dead_code, reason = "fake answers come whole or not at all")
    )]
    Body,
}

/// Sorts an error of the host. `call` is the method and the origin, never the path: addresses of
/// nodes carry keys in their paths.
pub(crate) fn error_of(code: &ErrorCode, phase: Phase, call: &str) -> HttpError {
    let reason = format!("{call}: {}", describe(code));
    if phase == Phase::Body {
        return HttpError::MayHaveBeenSent(reason);
    }
    match code {
        ErrorCode::HttpRequestMethodInvalid
        | ErrorCode::HttpRequestUriInvalid
        | ErrorCode::HttpRequestUriTooLong => HttpError::Invalid(reason),
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            HttpError::Denied(reason)
        }
        ErrorCode::DnsTimeout
        | ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::DestinationIpUnroutable
        | ErrorCode::ConnectionRefused
        | ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionLimitReached
        | ErrorCode::TlsCertificateError => HttpError::NotSent(reason),
        // Some of these come before the first byte in most cases. Most is not enough: what is
        // taken for "not sent" here may be done twice.
        ErrorCode::ConnectionTerminated
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsAlertReceived(_)
        | ErrorCode::HttpRequestLengthRequired
        | ErrorCode::HttpRequestBodySize(_)
        | ErrorCode::HttpRequestHeaderSectionSize(_)
        | ErrorCode::HttpRequestHeaderSize(_)
        | ErrorCode::HttpRequestTrailerSectionSize(_)
        | ErrorCode::HttpRequestTrailerSize(_)
        | ErrorCode::HttpResponseIncomplete
        | ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_)
        | ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseTrailerSectionSize(_)
        | ErrorCode::HttpResponseTrailerSize(_)
        | ErrorCode::HttpResponseTransferCoding(_)
        | ErrorCode::HttpResponseContentCoding(_)
        | ErrorCode::HttpResponseTimeout
        | ErrorCode::HttpUpgradeFailed
        | ErrorCode::HttpProtocolError
        | ErrorCode::LoopDetected
        | ErrorCode::ConfigurationError
        | ErrorCode::InternalError(_) => HttpError::MayHaveBeenSent(reason),
    }
}

/// For people, and with the remedy where there is one.
fn describe(code: &ErrorCode) -> String {
    match code {
        ErrorCode::HttpRequestDenied => "the manifest's grants.http does not allow it".into(),
        ErrorCode::DestinationIpProhibited => {
            "its address is private or reserved, and the manifest's grants.http does not say private = true".into()
        }
        ErrorCode::DnsTimeout => "the name could not be resolved in time".into(),
        ErrorCode::DnsError(error) => match &error.rcode {
            Some(rcode) => format!("the name could not be resolved ({rcode})"),
            None => "the name could not be resolved".into(),
        },
        ErrorCode::ConnectionRefused => "connection refused".into(),
        ErrorCode::ConnectionTimeout => "no connection in time".into(),
        ErrorCode::ConnectionTerminated => "the connection was reset".into(),
        ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            "no answer in time".into()
        }
        ErrorCode::HttpResponseIncomplete => "the answer broke off".into(),
        ErrorCode::HttpResponseBodySize(_) => {
            "the answer is larger than the manifest's limits.response_body".into()
        }
        ErrorCode::TlsCertificateError => "its certificate is not trusted".into(),
        ErrorCode::InternalError(Some(text)) => text.clone(),
        other => {
            // `ErrorCode::LoopDetected` and the like: the name says it.
            let name = format!("{other:?}");
            name.strip_prefix("ErrorCode::").unwrap_or(&name).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_before_the_connection_stood_was_not_sent() {
        for code in [
            ErrorCode::ConnectionRefused,
            ErrorCode::ConnectionTimeout,
            ErrorCode::ConnectionLimitReached,
            ErrorCode::DnsTimeout,
            ErrorCode::DestinationNotFound,
            ErrorCode::DestinationUnavailable,
            ErrorCode::DestinationIpProhibited,
            ErrorCode::HttpRequestDenied,
            ErrorCode::TlsCertificateError,
            ErrorCode::HttpRequestUriInvalid,
        ] {
            assert!(error_of(&code, Phase::Request, "GET x").was_not_sent(), "{code:?}");
        }
    }

    #[test]
    fn what_failed_later_may_have_arrived() {
        for code in [
            ErrorCode::ConnectionTerminated,
            ErrorCode::ConnectionReadTimeout,
            ErrorCode::ConnectionWriteTimeout,
            ErrorCode::HttpResponseTimeout,
            ErrorCode::HttpResponseIncomplete,
            ErrorCode::HttpProtocolError,
            ErrorCode::TlsProtocolError,
            ErrorCode::HttpRequestBodySize(None),
            ErrorCode::InternalError(None),
        ] {
            assert!(!error_of(&code, Phase::Request, "GET x").was_not_sent(), "{code:?}");
        }
    }

    #[test]
    fn nothing_is_unsent_once_the_answer_began() {
        for code in
            [ErrorCode::ConnectionRefused, ErrorCode::DnsTimeout, ErrorCode::HttpRequestDenied]
        {
            assert!(!error_of(&code, Phase::Body, "GET x").was_not_sent(), "{code:?}");
        }
    }

    #[test]
    fn a_denial_says_what_to_grant() {
        let error =
            error_of(&ErrorCode::HttpRequestDenied, Phase::Request, "GET http://198.51.100.7");
        assert_eq!(
            error.to_string(),
            "the host denied the request: GET http://198.51.100.7: the manifest's grants.http does not allow it",
        );
    }
}
