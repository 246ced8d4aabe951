//! Bodies on their way: bounded in length and time, filled and looked through for secrets.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::super::super::limits::size;
use super::super::super::secrecy::{BodyFiller, Mask};
use super::super::super::state::CallFacts;
use super::exchange::Exchange;
use super::send::mask_headers;

/// How long a request may take, in its parts.
pub(super) struct Times {
    /// Of all of it.
    pub(super) deadline: Instant,
    /// Until the head of the answer.
    pub(super) first_byte: Duration,
    /// Between two parts of the answer.
    pub(super) idle: Duration,
}

/// A request's body: ends with an error when it is longer than allowed.
pub(super) struct SentBody {
    body: WasiBody,
    left: u64,
    facts: Arc<CallFacts>,
    sent: Arc<AtomicU64>,
    filler: Option<BodyFiller>,
    ended: bool,
}

impl SentBody {
    pub(super) fn new(
        body: WasiBody,
        facts: Arc<CallFacts>,
        sent: Arc<AtomicU64>,
        filler: Option<BodyFiller>,
    ) -> Self {
        let left = facts.release.manifest.limits.request_body;
        Self { body, left, facts, sent, filler, ended: false }
    }

    fn too_large(&self) -> Error {
        let max = self.facts.release.manifest.limits.request_body;
        // Not every guest passes the reason on.
        self.facts.note(format!("limit {} of a request's body reached", size(max)));
        Error::HttpRequestBodySize(Some(max))
    }

    /// The bytes with their placeholders filled in.
    fn fill(&mut self, bytes: Bytes, last: bool) -> Result<Bytes, Error> {
        let Some(filler) = &mut self.filler else { return Ok(bytes) };
        filler.push(&bytes, last).map_err(|reason| {
            self.facts.note(reason);
            // Some of it may be on its way: the guest must not take it for not sent.
            Error::ConnectionTerminated
        })
    }
}

impl Body for SentBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.ended = true;
                    let rest = match this.fill(Bytes::new(), true) {
                        Ok(rest) => rest,
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    };
                    let rest = (!rest.is_empty()).then(|| Ok(Frame::data(rest)));
                    return Poll::Ready(rest);
                }
            };
            let Ok(data) = frame.into_data() else {
                // Trailers: over HTTP/1.1 hardly anybody takes them, and nothing was granted.
                continue;
            };
            let bytes = data.len() as u64;
            match this.left.checked_sub(bytes) {
                Some(left) => this.left = left,
                None => return Poll::Ready(Some(Err(this.too_large()))),
            }
            this.sent.fetch_add(bytes, Ordering::Relaxed);
            match this.fill(data, false) {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.filler.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.filler.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}

/// An answer's body: ends with an error when it is longer than allowed, pauses for too long, or
/// takes too long in all.
pub(super) struct AnswerBody {
    body: Incoming,
    left: u64,
    facts: Arc<CallFacts>,
    times: Times,
    timer: Pin<Box<Sleep>>,
    mask: Option<Mask>,
    /// What comes after what the mask held back.
    after: Option<Frame<Bytes>>,
    /// None once it is over.
    exchange: Option<Exchange>,
}

impl AnswerBody {
    pub(super) fn new(
        body: Incoming,
        facts: Arc<CallFacts>,
        times: Times,
        mask: Option<Mask>,
        exchange: Exchange,
    ) -> Self {
        let left = facts.release.manifest.limits.response_body;
        let timer = Box::pin(tokio::time::sleep_until(next(&times)));
        let mut this =
            Self { body, left, facts, times, timer, mask, after: None, exchange: Some(exchange) };
        if this.body.is_end_stream() {
            this.over(None);
        }
        this
    }

    /// Ends the record.
    fn over(&mut self, error: Option<&'static str>) {
        if let Some(mut exchange) = self.exchange.take() {
            match error {
                None => exchange.complete(),
                Some(error) => exchange.fail(error),
            }
        }
    }

    fn fail(&mut self, error: Error, label: &'static str) -> Error {
        self.over(Some(label));
        error
    }

    /// What of a frame the guest sees now, if anything.
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, Error> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return Ok(Some(self.take_trailers(frame))),
        };
        let Some(left) = self.left.checked_sub(data.len() as u64) else {
            let max = self.facts.release.manifest.limits.response_body;
            // Not every guest passes the reason on.
            self.facts.note(format!("limit {} of an answer's body reached", size(max)));
            return Err(self.fail(Error::HttpResponseBodySize(Some(max)), "answer_body"));
        };
        self.left = left;
        if let Some(exchange) = &mut self.exchange {
            exchange.received(data.len());
        }
        self.timer.as_mut().reset(next(&self.times));
        let data = match &mut self.mask {
            Some(mask) => Bytes::from(mask.push(&data)),
            None => data,
        };
        Ok((!data.is_empty()).then(|| Frame::data(data)))
    }

    fn take_trailers(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let Ok(mut trailers) = frame.into_trailers() else { return Frame::data(Bytes::new()) };
        let Some(mask) = &mut self.mask else { return Frame::trailers(trailers) };
        let held = mask.finish();
        mask_headers(&mut trailers, &|bytes| mask.of_whole(bytes));
        if held.is_empty() {
            return Frame::trailers(trailers);
        }
        self.after = Some(Frame::trailers(trailers));
        Frame::data(held.into())
    }

    /// The body is at its end: what was held back, if anything.
    fn end(&mut self) -> Option<Frame<Bytes>> {
        self.over(None);
        let held = self.mask.as_mut().map(Mask::finish).unwrap_or_default();
        (!held.is_empty()).then(|| Frame::data(held.into()))
    }
}

fn next(times: &Times) -> Instant {
    times.deadline.min(Instant::now() + times.idle)
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Some(frame) = this.after.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        loop {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match this.take(frame) {
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
                Poll::Ready(Some(Err(_))) => {
                    let error = this.fail(Error::HttpResponseIncomplete, "incomplete");
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => return Poll::Ready(this.end().map(Ok)),
                Poll::Pending => {
                    ready!(this.timer.as_mut().poll(cx));
                    let error = this.fail(Error::ConnectionReadTimeout, "timeout");
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none() && self.mask.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
