//! `wasi:http/outgoing-handler`: where the egress policy is applied to a call's requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Sleep;
use url::Url;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::super::egress::DialError;
use super::super::state::CallFacts;

/// The hooks of one call.
pub(crate) struct Egress {
    pub(crate) facts: Arc<CallFacts>,
}

type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Egress {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _consumed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let facts = Arc::clone(&self.facts);
        Box::new(async move {
            let index = facts.requests.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            match admit(&facts, request, index) {
                Ok(request) => send(&facts, request, options.unwrap_or_default()).await,
                Err((request, error)) => {
                    drain(request, facts.release.manifest.limits.request_body).await;
                    Err(error)
                }
            }
        })
    }
}

/// Applies the policy and adds the host's headers; gives the request back where it is denied.
#[expect(clippy::result_large_err, reason = "the denied request's body has to be drained")]
fn admit(
    facts: &CallFacts,
    mut request: Request<WasiBody>,
    index: u32,
) -> Result<Request<WasiBody>, (Request<WasiBody>, Error)> {
    let limits = &facts.release.manifest.limits;
    if index > limits.requests {
        facts.note(format!("limit of {} requests a call reached", limits.requests));
        return Err((request, Error::HttpRequestDenied));
    }
    let uri = request.uri();
    // Userinfo would be sent as part of the Host header.
    let userinfo = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    let url = match Url::parse(&uri.to_string()) {
        Ok(url) if !userinfo => url,
        Ok(_) | Err(_) => return Err((request, Error::HttpRequestUriInvalid)),
    };
    if facts.release.manifest.grants.http_for(&url).is_none() {
        let origin = url.origin().ascii_serialization();
        facts.note(format!(
            "request to {origin} denied: to allow it, put {origin:?} into grants.http of {}",
            facts.release.manifest.name
        ));
        return Err((request, Error::HttpRequestDenied));
    }
    if let Err(error) = add_headers(facts, request.headers_mut(), index) {
        return Err((request, error));
    }
    let body_max = limits.request_body;
    Ok(request.map(|body| {
        BoundedBody { body, left: body_max, too_large: Error::HttpRequestBodySize, pause: None }
            .boxed_unsync()
    }))
}

fn add_headers(facts: &CallFacts, headers: &mut http::HeaderMap, index: u32) -> Result<(), Error> {
    let key = HeaderName::from_static("idempotency-key");
    if !headers.contains_key(&key) {
        // The call's index makes it the same on every attempt, and another for each request.
        let value = format!("{}-{index}", facts.idempotency_key);
        headers.insert(key, HeaderValue::from_str(&value).map_err(|_| Error::ConfigurationError)?);
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
    facts: &CallFacts,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Answer, Error> {
    let limits = &facts.release.manifest.limits;
    let clamp = |asked: Option<Duration>| asked.unwrap_or(limits.timeout).min(limits.timeout);
    facts.sent.store(true, Ordering::Relaxed);
    let sent = facts.release.egress.request(request);
    let answer = tokio::time::timeout(clamp(options.first_byte_timeout), sent)
        .await
        .map_err(|_| Error::ConnectionReadTimeout)?
        .map_err(|error| translate(facts, &error))?;
    let pause = Pause::new(clamp(options.between_bytes_timeout));
    let answer = answer.map(|body| {
        BoundedBody {
            body: body.map_err(|_| Error::HttpResponseIncomplete).boxed_unsync(),
            left: limits.response_body,
            too_large: Error::HttpResponseBodySize,
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
                DialError::Unresolved(_) => {
                    Error::DnsError { rcode: Some("NXDOMAIN".into()), info_code: None }
                }
                DialError::TimedOut => Error::ConnectionTimeout,
                DialError::Refused(_) => Error::ConnectionRefused,
                DialError::Tls(_) => Error::TlsCertificateError,
            };
        }
        if cause.downcast_ref::<Error>().is_some_and(|e| matches!(e, Error::HttpRequestBodySize(_)))
        {
            let max = facts.release.manifest.limits.request_body;
            facts.note(format!("limit of {max} bytes of a request's body reached"));
            return Error::HttpRequestBodySize(Some(max));
        }
        source = cause.source();
    }
    Error::ConnectionTerminated
}

/// A body that ends with an error when it is longer than allowed, or pauses for too long.
struct BoundedBody {
    body: WasiBody,
    left: u64,
    too_large: fn(Option<u64>) -> Error,
    pause: Option<Pause>,
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
                    None => return Poll::Ready(Some(Err((self.too_large)(None)))),
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
