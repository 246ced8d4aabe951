//! Sends an admitted request within its bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tokio::sync::Notify;
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::super::super::egress::{
    ANSWER_HEAD_BYTES_MAX, ANSWER_HEADERS_MAX, DialError, EgressClient,
};
use super::super::super::own_time::longest;
use super::super::super::secrecy::{BodyFiller, Filler, Form, Mask};
use super::super::super::state::CallFacts;
use super::Answer;
use super::admit::Admitted;
use super::body::{AnswerBody, SentBody, Times};
use super::exchange::Exchange;

/// Answers of the 1xx kind before the one that counts.
const INFORMATIONAL_MAX: u32 = 16;
/// `: ` and the line's end.
const HEADER_OVERHEAD_BYTES: usize = 4;

/// What ended a request without an answer: what the guest is told, and what the record says.
type Failed = (Error, &'static str);

pub(super) async fn send(
    facts: &Arc<CallFacts>,
    request: Request<WasiBody>,
    filled: Option<(Filler, Form)>,
    admitted: &Admitted,
    options: &RequestOptions,
    mut exchange: Exchange,
) -> Result<Answer, Error> {
    let times = times(facts, admitted, options);
    let prepared = prepare(facts, request, filled, exchange.sent(), times.deadline).await;
    let answer = match (prepared, exchange.client()) {
        (Ok(request), Some(client)) => exchange_heads(facts, client, request, &times).await,
        (Ok(_), None) => Err((Error::HttpRequestDenied, "denied")),
        (Err(failed), _) => Err(failed),
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err((error, label)) => {
            exchange.fail(label);
            return Err(error);
        }
    };
    exchange.answered(answer.status().as_u16());
    let answer = receive(facts, answer, times, exchange);
    Ok((answer, Box::new(async { Ok(()) })))
}

/// The shortest of what the guest asks for, what the grant allows, and what a call has: it ends by
/// itself, and later if the host makes it wait.
pub(super) fn times(facts: &CallFacts, admitted: &Admitted, options: &RequestOptions) -> Times {
    let manifest = &facts.release.manifest;
    let grant = manifest.grants.http.get(admitted.grant);
    let own = manifest.limits.timeout;
    let of = |granted: Option<Duration>, asked: Option<Duration>| {
        let granted = granted.map_or_else(|| longest(own), |granted| granted.min(own));
        asked.unwrap_or(granted).min(granted)
    };
    let total = of(grant.and_then(|grant| grant.request_timeout), None);
    Times {
        deadline: Instant::now() + total,
        first_byte: of(Some(total), options.first_byte_timeout),
        idle: of(grant.and_then(|grant| grant.idle_timeout), options.between_bytes_timeout),
    }
}

/// The request with its bounded body. One whose length is told beforehand is read to its end and
/// filled at once, for its length changes with it.
pub(super) async fn prepare(
    facts: &Arc<CallFacts>,
    request: Request<WasiBody>,
    filled: Option<(Filler, Form)>,
    sent: Arc<AtomicU64>,
    deadline: Instant,
) -> Result<Request<WasiBody>, Failed> {
    let (mut head, body) = request.into_parts();
    let bounded = |filler| SentBody::new(body, Arc::clone(facts), sent, filler);
    let Some((filler, form)) = filled else {
        return Ok(Request::from_parts(head, bounded(None).boxed_unsync()));
    };
    let mut filler = BodyFiller::new(filler, form);
    if !head.headers.contains_key(header::CONTENT_LENGTH) {
        return Ok(Request::from_parts(head, bounded(Some(filler)).boxed_unsync()));
    }
    let whole = tokio::time::timeout_at(deadline, bounded(None).collect()).await;
    let whole = whole.map_err(|_| (Error::ConnectionWriteTimeout, "timeout"))?;
    let whole = whole.map_err(|error| (error, "request_body"))?.to_bytes();
    let whole = filler.push(&whole, true).map_err(|reason| {
        facts.note(reason);
        (Error::HttpRequestDenied, "denied")
    })?;
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let body = Full::new(whole).map_err(|never| match never {}).boxed_unsync();
    Ok(Request::from_parts(head, body))
}

/// Sends the request, and waits for the head of its answer.
async fn exchange_heads(
    facts: &Arc<CallFacts>,
    client: &EgressClient,
    mut request: Request<WasiBody>,
    times: &Times,
) -> Result<Response<Incoming>, Failed> {
    let connection = capture_connection(&mut request);
    let announced = bound_informational(&mut request);
    facts.departs();
    let until = times.deadline.min(Instant::now() + times.first_byte);
    let sent = tokio::time::timeout_at(until, client.request(request));
    let answer = tokio::select! {
        answer = sent => answer,
        () = announced.flooded.notified() => return Err(flooded(facts)),
    };
    // They may have come in one piece with the answer.
    if announced.count.load(Ordering::Relaxed) > INFORMATIONAL_MAX {
        return Err(flooded(facts));
    }
    let failed = match answer {
        Ok(Ok(answer)) if answer.status().is_informational() => {
            facts.note("the target switched to another protocol, which no grant allows".into());
            return Err((Error::HttpUpgradeFailed, "upgrade"));
        }
        Ok(Ok(answer)) if is_large(answer.headers()) => large_head(facts),
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => translate(facts, &error),
        Err(_) if is_connected(&connection) => (Error::ConnectionReadTimeout, "timeout"),
        Err(_) => (Error::ConnectionTimeout, "connect_timeout"),
    };
    // Without a connection no byte has left, however it ended.
    if !is_connected(&connection) {
        facts.stayed();
    }
    Err(failed)
}

fn is_connected(connection: &CaptureConnection) -> bool {
    connection.connection_metadata().is_some()
}

/// Answers of the 1xx kind.
#[derive(Default)]
struct Announced {
    count: AtomicU32,
    flooded: Notify,
}

/// Tells when a server sends nothing but announcements of an answer.
fn bound_informational(request: &mut Request<WasiBody>) -> Arc<Announced> {
    let announced = Arc::<Announced>::default();
    let counted = Arc::clone(&announced);
    hyper::ext::on_informational(request, move |_| {
        if counted.count.fetch_add(1, Ordering::Relaxed) >= INFORMATIONAL_MAX {
            counted.flooded.notify_one();
        }
    });
    announced
}

fn flooded(facts: &CallFacts) -> Failed {
    facts.note(format!("limit of {INFORMATIONAL_MAX} answers of the 1xx kind reached"));
    (Error::HttpProtocolError, "informational")
}

/// The client bounds what it buffers, which in one piece may be more.
fn is_large(headers: &HeaderMap) -> bool {
    let bytes = |(name, value): (&http::HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + HEADER_OVERHEAD_BYTES
    };
    headers.len() > ANSWER_HEADERS_MAX
        || headers.iter().map(bytes).sum::<usize>() > ANSWER_HEAD_BYTES_MAX
}

fn large_head(facts: &CallFacts) -> Failed {
    facts.note(format!(
        "limit of {ANSWER_HEADERS_MAX} headers and {ANSWER_HEAD_BYTES_MAX} bytes of an answer's head \
         reached"
    ));
    (Error::HttpResponseHeaderSectionSize(u32::try_from(ANSWER_HEAD_BYTES_MAX).ok()), "answer_head")
}

/// Errors of dialling mean that nothing was sent; all others leave it open.
fn translate(facts: &CallFacts, error: &hyper_util::client::legacy::Error) -> Failed {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            facts.note(dial.to_string());
            return match dial {
                DialError::NotGranted => (Error::HttpRequestDenied, "denied"),
                DialError::PrivateAddress { .. } | DialError::LinkLocalAddress { .. } => {
                    (Error::DestinationIpProhibited, "denied")
                }
                // Whether there is no such name or no resolver, the system does not say.
                DialError::Unresolved(_) => {
                    (Error::DnsError { rcode: None, info_code: None }, "unresolved")
                }
                DialError::TooMany(_) => (Error::ConnectionLimitReached, "connection_limit"),
                DialError::TimedOut(_) => (Error::ConnectionTimeout, "connect_timeout"),
                DialError::Refused(_) => (Error::ConnectionRefused, "refused"),
                DialError::Tls(_) => (Error::TlsCertificateError, "tls"),
            };
        }
        if cause.downcast_ref::<Error>().is_some_and(|e| matches!(e, Error::HttpRequestBodySize(_)))
        {
            let max = facts.release.manifest.limits.request_body;
            return (Error::HttpRequestBodySize(Some(max)), "request_body");
        }
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large) {
            return large_head(facts);
        }
        source = cause.source();
    }
    (Error::ConnectionTerminated, "terminated")
}

/// The answer as the guest may see it: bounded, and without the secrets that it may echo.
fn receive(
    facts: &Arc<CallFacts>,
    answer: Response<Incoming>,
    times: Times,
    exchange: Exchange,
) -> Response<WasiBody> {
    let patterns = if facts.release.placeholders.is_empty() {
        None
    } else {
        facts.release.outbound.redactor.patterns()
    };
    let (mut head, body) = answer.into_parts();
    if let Some(patterns) = &patterns {
        mask_headers(&mut head.headers, &|bytes| Mask::whole(patterns, bytes));
    }
    let mask = patterns.map(Mask::new);
    let body = AnswerBody::new(body, Arc::clone(facts), times, mask, exchange);
    Response::from_parts(head, body.boxed_unsync())
}

pub(super) fn mask_headers(headers: &mut HeaderMap, mask: &dyn Fn(&[u8]) -> Vec<u8>) {
    for value in headers.values_mut() {
        let masked = mask(value.as_bytes());
        if masked != value.as_bytes() {
            // Stars in place of bytes that a header could hold.
            *value = HeaderValue::from_maybe_shared(Bytes::from(masked))
                .unwrap_or(HeaderValue::from_static("*"));
        }
    }
}
