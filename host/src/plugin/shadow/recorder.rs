//! Records a live attempt while it is made, for its shadow. It gets in nobody's way: what does not
//! fit is not recorded, and then there is no copy.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, WasiBody};

use super::super::services::Work;
use super::super::state::Services;
use super::recording::{Asked, BodyEnd, RecordedAnswer, RecordedRequest, Recording, same};
use crate::domain::SkipReason;

/// Of one recording. There are as many recordings as `RECORDINGS_MAX` at the same time.
const BYTES_MAX: usize = 1 << 20;
/// What is around what is recorded, such as names of headers and places in lists.
pub(super) const OVERHEAD_BYTES: usize = 256;

/// The attempt waits meanwhile, and must not for a store that is slow.
const BEGIN_WITHIN: Duration = Duration::from_secs(1);

/// The recording of one attempt, as far as it has come.
pub struct Recorder(Mutex<State>);

struct State {
    recording: Recording,
    bytes_left: usize,
    /// Why nothing more is recorded.
    void: Option<SkipReason>,
}

impl Recorder {
    #[must_use]
    pub(super) fn new() -> Arc<Self> {
        let recording = Recording::default();
        Arc::new(Self(Mutex::new(State { recording, bytes_left: BYTES_MAX, void: None })))
    }

    /// The attempt begins: notes the checkpoint that it finds. A shadow that asks for it later must
    /// not find the next one.
    pub(in crate::plugin) async fn begin(&self, services: &Services, work: &Work) {
        match tokio::time::timeout(BEGIN_WITHIN, services.checkpoints.load(work)).await {
            Ok(Ok(checkpoint)) => {
                let bytes = checkpoint.as_ref().map_or(0, Vec::len);
                self.write(bytes, |recording| recording.checkpoint = checkpoint);
            }
            Ok(Err(_)) | Err(_) => self.lock().give_up(SkipReason::CutOff),
        }
    }

    /// A request is about to be made.
    pub(in crate::plugin) fn request(self: &Arc<Self>, asked: Asked) -> Tape {
        let bytes = asked.url.as_str().len() + header_bytes(&asked.headers) + asked.body.len();
        let mut at = usize::MAX;
        self.write(bytes, |recording| {
            at = recording.requests.len();
            recording.requests.push(RecordedRequest { asked, answer: None });
        });
        Tape { recorder: Arc::clone(self), at }
    }

    /// What was recorded. Whatever comes later is not.
    ///
    /// # Errors
    /// Why it cannot be compared with.
    pub(super) fn finish(&self) -> Result<Recording, SkipReason> {
        let mut state = self.lock();
        let recording = std::mem::take(&mut state.recording);
        let void = state.void.replace(SkipReason::CutOff);
        match void {
            Some(why) => Err(why),
            None if recording.requests.iter().any(|request| request.answer.is_none()) => {
                Err(SkipReason::CutOff)
            }
            None => Ok(recording),
        }
    }

    /// Notes something of so many bytes, if there is room.
    pub(super) fn write(&self, bytes: usize, note: impl FnOnce(&mut Recording)) {
        let mut state = self.lock();
        if state.void.is_some() {
            return;
        }
        match state.bytes_left.checked_sub(bytes.saturating_add(OVERHEAD_BYTES)) {
            Some(left) => {
                state.bytes_left = left;
                note(&mut state.recording);
            }
            None => state.give_up(SkipReason::TooLarge),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn give_up(&mut self, why: SkipReason) {
        self.void.get_or_insert(why);
        self.recording = Recording::default();
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// One request's part of the recording.
#[derive(Clone)]
pub(in crate::plugin) struct Tape {
    recorder: Arc<Recorder>,
    /// Its place; of no request, if it was not recorded.
    at: usize,
}

impl Tape {
    /// The request's body, which is recorded while it is read.
    pub(in crate::plugin) fn request_body(&self, body: WasiBody) -> WasiBody {
        TapedBody { body, tape: self.clone(), side: Side::Request }.boxed_unsync()
    }

    /// The answer, whose body is recorded while the guest reads it.
    pub(in crate::plugin) fn answered(&self, answer: Response<WasiBody>) -> Response<WasiBody> {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let is_empty = answer.body().is_end_stream();
        self.write(header_bytes(&headers), |request| {
            let end = if is_empty { BodyEnd::Whole } else { BodyEnd::Unread };
            let (body, trailers) = (Vec::new(), None);
            request.answer = Some(Ok(RecordedAnswer { status, headers, body, trailers, end }));
        });
        let tape = self.clone();
        answer.map(|body| TapedBody { body, tape, side: Side::Answer }.boxed_unsync())
    }

    /// There was none.
    pub(in crate::plugin) fn failed(&self, error: &Error) {
        self.write(0, |request| request.answer = Some(Err(same(error))));
    }

    fn data(&self, side: Side, data: &Bytes) {
        self.write(data.len(), |request| match (side, &mut request.answer) {
            (Side::Request, _) => request.asked.body.extend_from_slice(data),
            (Side::Answer, Some(Ok(answer))) => answer.body.extend_from_slice(data),
            (Side::Answer, _) => {}
        });
    }

    fn trailers(&self, side: Side, trailers: &HeaderMap) {
        if side == Side::Answer {
            self.answer(header_bytes(trailers), |answer| answer.trailers = Some(trailers.clone()));
        }
    }

    fn ended(&self, side: Side, end: BodyEnd) {
        if side == Side::Answer {
            self.answer(0, |answer| answer.end = end);
        }
    }

    fn answer(&self, bytes: usize, note: impl FnOnce(&mut RecordedAnswer)) {
        self.write(bytes, |request| {
            if let Some(Ok(answer)) = &mut request.answer {
                note(answer);
            }
        });
    }

    fn write(&self, bytes: usize, note: impl FnOnce(&mut RecordedRequest)) {
        self.recorder.write(bytes, |recording| {
            if let Some(request) = recording.requests.get_mut(self.at) {
                note(request);
            }
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Answer,
}

struct TapedBody {
    body: WasiBody,
    tape: Tape,
    side: Side,
}

impl Body for TapedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let (tape, side) = (&this.tape, this.side);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    tape.data(side, data);
                } else if let Some(trailers) = frame.trailers_ref() {
                    tape.trailers(side, trailers);
                }
                // Who knows that nothing more comes does not ask for it.
                if this.body.is_end_stream() || this.body.size_hint().exact() == Some(0) {
                    tape.ended(side, BodyEnd::Whole);
                }
            }
            Some(Err(error)) => tape.ended(side, BodyEnd::Broken(same(error))),
            None => tape.ended(side, BodyEnd::Whole),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
