//! `wasi:http/outgoing-handler`: where the egress policy is applied to a call's requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_util::client::legacy::connect::capture_connection;
use tokio::time::Sleep;
use url::Url;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::super::egress::DialError;
use super::super::limits::size;
use super::super::state::CallFacts;

/// How long a denied guest may go on writing before it gets the answer.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);

/// The hooks of one call.
pub(crate) struct Egress {
    pub(crate) facts: Arc<CallFacts>,
}

type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// What one write of a guest into a body holds at most. Two of them are kept of a body that nobody
/// takes, and a guest may have hundreds of such bodies.
const BODY_CHUNK_BYTES: usize = 16 << 10;

impl WasiHttpHooks for Egress {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _consumed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let facts = Arc::clone(&self.facts);
        Box::new(async move {
            let mut request = request;
            match admit(&facts, &mut request) {
                Ok(()) => {
                    let target = target_of(request.uri());
                    facts.targets.asked(&target);
                    let answer =
                        send(&facts, bounded(&facts, request), options.unwrap_or_default()).await;
                    report(&facts, &target, &answer);
                    answer
                }
                Err(error) => {
                    let bytes_max = facts.release.manifest.limits.request_body;
                    // Whoever writes for longer than this gets the reason all the same.
                    let drained = drain(request, bytes_max);
                    let _ = tokio::time::timeout(DRAIN_WITHIN, drained).await;
                    Err(error)
                }
            }
        })
    }
}

/// Host and port: whose breaker it is.
fn target_of(uri: &http::Uri) -> String {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    format!("{}:{port}", uri.host().unwrap_or_default().to_ascii_lowercase())
}

/// What the answer says of its target. Overloaded and broken ones answer too.
fn report(facts: &CallFacts, target: &str, answer: &Result<Answer, Error>) {
    match answer {
        Ok((head, _)) if head.status().is_server_error() || head.status().as_u16() == 429 => {}
        Ok(_) => facts.targets.answered(target),
        // The policy's own refusals, and limits of the guest's.
        Err(
            Error::HttpRequestDenied
            | Error::DestinationIpProhibited
            | Error::HttpRequestBodySize(_),
        ) => facts.targets.spared(target),
        Err(_) => {}
    }
}

/// Applies the policy, and adds the host's headers to a request that it lets out.
fn admit(facts: &CallFacts, request: &mut Request<WasiBody>) -> Result<(), Error> {
    let denied = |reason: String| {
        facts.note(reason);
        Error::HttpRequestDenied
    };
    let number = facts.count_request().map_err(denied)?;
    // While a withdrawal is judged, nothing goes out.
    facts.working().map_err(denied)?;
    // A tunnel through a target would lead to where no grant does.
    if request.method() == Method::CONNECT {
        return Err(Error::HttpRequestMethodInvalid);
    }
    let uri = request.uri();
    // Userinfo would be sent as part of the Host header.
    let userinfo = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let url = match Url::parse(&uri.to_string()) {
        Ok(url) if !userinfo => url,
        Ok(_) | Err(_) => return Err(Error::HttpRequestUriInvalid),
    };
    let manifest = &facts.release.manifest;
    if manifest.grants.http_for(&url).is_none() {
        let origin = url.origin().ascii_serialization();
        return Err(denied(format!(
            "request to {origin} denied: to allow it, put {origin:?} into grants.http of {}",
            manifest.name
        )));
    }
    add_headers(facts, request.headers_mut(), number).map_err(denied)
}

fn add_headers(
    facts: &CallFacts,
    headers: &mut http::HeaderMap,
    number: u32,
) -> Result<(), String> {
    let key = HeaderName::from_static("idempotency-key");
    if !headers.contains_key(&key) {
        // The request's number makes it the same on every attempt, and another for each request.
        let value = format!("{}-{number}", facts.idempotency_key);
        headers.insert(key, HeaderValue::from_str(&value).map_err(|error| error.to_string())?);
    }
    if let Some(traceparent) = &facts.traceparent
        && !headers.contains_key("traceparent")
        && let Ok(value) = HeaderValue::from_str(traceparent)
    {
        headers.insert("traceparent", value);
    }
    for value in headers.values_mut() {
        if let Some(filled) = facts.fill_secrets(value)? {
            *value = filled;
        }
    }
    Ok(())
}

fn bounded(facts: &Arc<CallFacts>, request: Request<WasiBody>) -> Request<WasiBody> {
    let left = facts.release.manifest.limits.request_body;
    let facts = Arc::clone(facts);
    request.map(|body| {
        BoundedBody { body, left, side: Side::Request, facts, pause: None }.boxed_unsync()
    })
}

/// Reads a denied request's body to its end: else the guest, still writing, sees a closed stream
/// and not the reason.
async fn drain(request: Request<WasiBody>, bytes_max: u64) {
    let mut body = request.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > bytes_max {
            return;
        }
    }
}

async fn send(
    facts: &Arc<CallFacts>,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Answer, Error> {
    let limits = &facts.release.manifest.limits;
    let clamp = |asked: Option<Duration>| asked.unwrap_or(limits.timeout).min(limits.timeout);
    let connection = capture_connection(&mut request);
    facts.departs();
    let sent = facts.release.egress.request(request);
    let answer = tokio::time::timeout(clamp(options.first_byte_timeout), sent).await;
    // Without a connection no byte has left, however it ended.
    let stayed = || connection.connection_metadata().is_none();
    let answer = match answer {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            if stayed() {
                facts.stayed();
            }
            return Err(translate(facts, &error));
        }
        Err(_) if stayed() => {
            facts.stayed();
            return Err(Error::ConnectionTimeout);
        }
        Err(_) => return Err(Error::ConnectionReadTimeout),
    };
    let pause = Pause::new(clamp(options.between_bytes_timeout));
    let answer = answer.map(|body| {
        BoundedBody {
            body: body.map_err(|_| Error::HttpResponseIncomplete).boxed_unsync(),
            left: limits.response_body,
            side: Side::Answer,
            facts: Arc::clone(facts),
            pause: Some(pause),
        }
        .boxed_unsync()
    });
    Ok((answer, Box::new(async { Ok(()) })))
}

/// What the guest is told. Errors of dialling mean that nothing was sent; all others leave it open.
fn translate(facts: &CallFacts, error: &hyper_util::client::legacy::Error) -> Error {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(dial) = cause.downcast_ref::<DialError>() {
            facts.note(dial.to_string());
            return match dial {
                DialError::NotGranted => Error::HttpRequestDenied,
                DialError::PrivateAddress { .. } => Error::DestinationIpProhibited,
                // Whether there is no such name or no resolver, the system does not say.
                DialError::Unresolved(_) => Error::DnsError { rcode: None, info_code: None },
                DialError::TimedOut => Error::ConnectionTimeout,
                DialError::Refused(_) => Error::ConnectionRefused,
                DialError::Tls(_) => Error::TlsCertificateError,
            };
        }
        if cause.downcast_ref::<Error>().is_some_and(|e| matches!(e, Error::HttpRequestBodySize(_)))
        {
            return Error::HttpRequestBodySize(Some(facts.release.manifest.limits.request_body));
        }
        source = cause.source();
    }
    Error::ConnectionTerminated
}

/// A body that ends with an error when it is longer than allowed, or pauses for too long.
struct BoundedBody {
    body: WasiBody,
    left: u64,
    side: Side,
    facts: Arc<CallFacts>,
    pause: Option<Pause>,
}

#[derive(Clone, Copy)]
enum Side {
    Request,
    Answer,
}

impl BoundedBody {
    fn too_large(&self) -> Error {
        let limits = &self.facts.release.manifest.limits;
        let (whose, max, error): (_, _, fn(Option<u64>) -> Error) = match self.side {
            Side::Request => ("a request's", limits.request_body, Error::HttpRequestBodySize),
            Side::Answer => ("an answer's", limits.response_body, Error::HttpResponseBodySize),
        };
        // Not every guest passes the reason on.
        self.facts.note(format!("limit {} of {whose} body reached", size(max)));
        error(Some(max))
    }
}

struct Pause {
    allowed: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Pause {
    fn new(allowed: Duration) -> Self {
        Self { allowed, timer: Box::pin(tokio::time::sleep(allowed)) }
    }
}

impl Body for BoundedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                match self.left.checked_sub(bytes) {
                    Some(left) => self.left = left,
                    None => return Poll::Ready(Some(Err(self.too_large()))),
                }
                if let Some(pause) = &mut self.pause {
                    let next = tokio::time::Instant::now() + pause.allowed;
                    pause.timer.as_mut().reset(next);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => Poll::Ready(ended),
            Poll::Pending => {
                let over = self
                    .pause
                    .as_mut()
                    .is_some_and(|pause| pause.timer.as_mut().poll(cx).is_ready());
                if over {
                    Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
                } else {
                    Poll::Pending
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
