//! What an attempt asked of the host, and what it got. In memory only, and not for long.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use url::Url;
use wasmtime_wasi_http::Error;

use super::super::services::{OutgoingMessage, PaymentTerms, PublishError, SignError, SignRequest};
use crate::domain::{Network, SignedTransaction};

/// One attempt's. Secrets stand in it as their placeholders, for it is made before they are filled
/// in, and of answers after they are masked.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Recording {
    /// As it was when the attempt began.
    pub(super) checkpoint: Option<Vec<u8>>,
    /// What was saved last, if anything.
    pub(super) saved: Option<Vec<u8>>,
    pub(super) requests: Vec<RecordedRequest>,
    pub(super) messages: Vec<(OutgoingMessage, Result<(), PublishError>)>,
    pub(super) terms: Vec<(Network, String, Result<PaymentTerms, SignError>)>,
    /// The answers to "what was signed last?", in order.
    pub(super) signed: Vec<Result<Option<SignedTransaction>, SignError>>,
    pub(super) signatures: Vec<(Signature, Result<SignedTransaction, SignError>)>,
}

/// What was to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) network: Network,
    pub(super) request: SignRequest,
}

/// A request as the guest made it.
#[derive(Debug)]
pub(in crate::plugin) struct Asked {
    pub(in crate::plugin) method: Method,
    /// In the form in which it was checked.
    pub(in crate::plugin) url: Url,
    pub(in crate::plugin) headers: HeaderMap,
    pub(in crate::plugin) body: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct RecordedRequest {
    pub(super) asked: Asked,
    pub(super) answer: Option<Result<RecordedAnswer, Error>>,
}

#[derive(Debug)]
pub(super) struct RecordedAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) end: BodyEnd,
}

/// How much of an answer's body there is.
#[derive(Debug)]
pub(super) enum BodyEnd {
    /// As much as the guest read.
    Unread,
    Whole,
    /// Then this happened.
    Broken(Error),
}

impl RecordedAnswer {
    pub(super) fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.body)
    }
}

/// The same error once more. What none of ours is becomes its text.
pub(super) fn same(error: &Error) -> Error {
    use Error as E;
    match error {
        E::HttpRequestBodySize(max) => E::HttpRequestBodySize(*max),
        E::DnsError { rcode, info_code } => {
            E::DnsError { rcode: rcode.clone(), info_code: *info_code }
        }
        E::DestinationIpProhibited => E::DestinationIpProhibited,
        E::ConnectionRefused => E::ConnectionRefused,
        E::ConnectionTerminated => E::ConnectionTerminated,
        E::ConnectionTimeout => E::ConnectionTimeout,
        E::ConnectionReadTimeout => E::ConnectionReadTimeout,
        E::ConnectionWriteTimeout => E::ConnectionWriteTimeout,
        E::ConnectionLimitReached => E::ConnectionLimitReached,
        E::TlsCertificateError => E::TlsCertificateError,
        E::HttpRequestDenied => E::HttpRequestDenied,
        E::HttpResponseIncomplete => E::HttpResponseIncomplete,
        E::HttpResponseHeaderSectionSize(max) => E::HttpResponseHeaderSectionSize(*max),
        E::HttpResponseBodySize(max) => E::HttpResponseBodySize(*max),
        E::HttpUpgradeFailed => E::HttpUpgradeFailed,
        E::HttpProtocolError => E::HttpProtocolError,
        other => E::InternalError(Some(format!("{other:?}"))),
    }
}

/// Whether a request that ended with this may have left the host.
pub(super) const fn may_have_left(error: &Error) -> bool {
    !matches!(
        error,
        Error::HttpRequestDenied
            | Error::DnsError { .. }
            | Error::DestinationIpProhibited
            | Error::ConnectionRefused
            | Error::ConnectionTimeout
            | Error::ConnectionLimitReached
            | Error::TlsCertificateError
    )
}
