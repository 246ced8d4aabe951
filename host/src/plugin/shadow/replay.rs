//! Answers a shadow as the live release was answered, and notes in what it differs. It holds a
//! recording and nothing else: no store, no signer, no broker, no connection.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, WasiBody};

use super::compare::{body_difference, request_changes, title};
use super::recording::{Asked, BodyEnd, RecordedAnswer, Recording, may_have_left, same};
use crate::domain::{DifferenceKind, ShadowDifference};

/// Differences of one copy that are kept.
const DIFFERENCES_MAX: usize = 32;

/// What one run of a shadow is answered from.
pub(in crate::plugin) struct Replay {
    pub(super) recording: Recording,
    progress: Mutex<Progress>,
}

/// How far the run has come.
#[derive(Default)]
pub(super) struct Progress {
    /// Of each recorded request, message and signature: whether the shadow's answer was its.
    requests: Vec<bool>,
    pub(super) messages: Vec<bool>,
    pub(super) signatures: Vec<bool>,
    asked: usize,
    /// The last recorded request that the shadow made, too.
    last: Option<usize>,
    out_of_order: bool,
    /// Questions for what was signed last.
    pub(super) signed_asked: usize,
    pub(super) saved: Option<Vec<u8>>,
    found: Vec<ShadowDifference>,
    /// It wanted to know what was not recorded.
    starved: bool,
}

impl Progress {
    pub(super) fn differs(&mut self, kind: DifferenceKind, text: String) {
        if self.found.len() < DIFFERENCES_MAX {
            self.found.push(ShadowDifference { kind, text });
        }
    }
}

impl Replay {
    pub(super) fn new(recording: Recording) -> Arc<Self> {
        let progress = Progress {
            requests: vec![false; recording.requests.len()],
            messages: vec![false; recording.messages.len()],
            signatures: vec![false; recording.signatures.len()],
            ..Progress::default()
        };
        Arc::new(Self { recording, progress: Mutex::new(progress) })
    }

    /// The live release's answer to the same request, or to the one that is most like it; of its body
    /// so many bytes at most.
    ///
    /// # Errors
    /// The live release's own error; a denial, if it made no such request.
    pub(in crate::plugin) fn answer(
        self: &Arc<Self>,
        asked: &Asked,
        bytes_max: u64,
    ) -> Result<Response<WasiBody>, Error> {
        let mut progress = self.progress();
        let place = progress.asked;
        progress.asked += 1;
        let number = progress.asked;
        let Some(at) = self.like(asked, place, &progress.requests) else {
            let text =
                format!("request {number}, {}: the live release did not make it", title(asked));
            progress.differs(DifferenceKind::RequestAdded, text);
            return Err(Error::HttpRequestDenied);
        };
        progress.requests[at] = true;
        progress.out_of_order |= progress.last.is_some_and(|last| at < last);
        progress.last = Some(at);
        let recorded = &self.recording.requests[at];
        let changes = request_changes(&recorded.asked, asked);
        if !changes.is_empty() {
            let of = title(&recorded.asked);
            let text = format!("request {number}, {of}: {}", changes.join("; "));
            progress.differs(DifferenceKind::RequestChanged, text);
        }
        match &recorded.answer {
            Some(Ok(answer)) => Ok(self.replayed(answer, bytes_max)),
            Some(Err(error)) => Err(same(error)),
            // No recording with such a request is replayed.
            None => Err(Error::ConnectionTerminated),
        }
    }

    /// Whether the live release's request that ended so may have left the host.
    pub(in crate::plugin) fn may_have_left(answer: &Result<Response<WasiBody>, Error>) -> bool {
        match answer {
            Ok(_) => true,
            Err(error) => may_have_left(error),
        }
    }

    /// The recorded request that this one is compared with: an equal one, or else one to the same
    /// address, or else one of its kind in the same place.
    fn like(&self, asked: &Asked, place: usize, used: &[bool]) -> Option<usize> {
        let requests = &self.recording.requests;
        let free = |is: &dyn Fn(usize, &Asked) -> bool| {
            (0..requests.len()).find(|at| !used[*at] && is(*at, &requests[*at].asked))
        };
        let same_path = |live: &Asked| {
            live.url.origin() == asked.url.origin() && live.url.path() == asked.url.path()
        };
        free(&|_, live| request_changes(live, asked).is_empty())
            .or_else(|| free(&|_, live| live.method == asked.method && live.url == asked.url))
            .or_else(|| free(&|_, live| live.method == asked.method && same_path(live)))
            .or_else(|| {
                free(&|at, live| {
                    let is_akin =
                        live.method == asked.method || live.url.path() == asked.url.path();
                    at == place && is_akin && live.url.origin() == asked.url.origin()
                })
            })
    }

    fn replayed(self: &Arc<Self>, answer: &RecordedAnswer, bytes_max: u64) -> Response<WasiBody> {
        let mut frames = VecDeque::new();
        if answer.body.len() as u64 > bytes_max {
            frames.push_back(Err(Error::HttpResponseBodySize(Some(bytes_max))));
        } else if !answer.body.is_empty() {
            frames.push_back(Ok(Frame::data(answer.bytes())));
        }
        frames.extend(answer.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))));
        let mut starves = None;
        match &answer.end {
            BodyEnd::Whole => {}
            BodyEnd::Broken(error) => frames.push_back(Err(same(error))),
            BodyEnd::Unread => starves = Some(Arc::clone(self)),
        }
        let body = ReplayedBody { frames, starves }.boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers.clone();
        response
    }

    /// What differed of all that was asked, when the run is over. None: the recording did not hold
    /// enough to say.
    pub(super) fn differences(&self) -> Option<Vec<ShadowDifference>> {
        let mut progress = std::mem::take(&mut *self.progress());
        if progress.starved {
            return None;
        }
        let unused = |used: &[bool]| {
            let unused = (0..used.len()).filter(|at| !used[*at]);
            unused.collect::<Vec<_>>()
        };
        for at in unused(&progress.requests) {
            let missing = title(&self.recording.requests[at].asked);
            let text = format!("{missing}: only the live release made it");
            progress.differs(DifferenceKind::RequestMissing, text);
        }
        if progress.out_of_order {
            let text = "the requests are made in another order".to_owned();
            progress.differs(DifferenceKind::RequestOrder, text);
        }
        for at in unused(&progress.messages) {
            let topic = &self.recording.messages[at].0.topic;
            let text = format!("a message to {topic}: only the live release published it");
            progress.differs(DifferenceKind::Message, text);
        }
        for at in unused(&progress.signatures) {
            let network = &self.recording.signatures[at].0.network;
            let text = format!("a signature for {network}: only the live release asked for it");
            progress.differs(DifferenceKind::Signature, text);
        }
        let saved = (self.recording.saved.as_deref(), progress.saved.take());
        match (saved.0, saved.1.as_deref()) {
            (None, None) => {}
            (Some(_), None) => {
                let text = "only the live release saved a checkpoint".to_owned();
                progress.differs(DifferenceKind::Checkpoint, text);
            }
            (None, Some(_)) => {
                let text = "only the shadow saved a checkpoint".to_owned();
                progress.differs(DifferenceKind::Checkpoint, text);
            }
            (Some(live), Some(shadow)) => {
                if let Some(difference) = body_difference(live, shadow) {
                    let text = format!("the last checkpoint {difference}");
                    progress.differs(DifferenceKind::Checkpoint, text);
                }
            }
        }
        Some(progress.found)
    }

    pub(super) fn starve(&self) {
        self.progress().starved = true;
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct ReplayedBody {
    frames: VecDeque<Result<Frame<Bytes>, Error>>,
    /// Set if the live release read no further.
    starves: Option<Arc<Replay>>,
}

impl Body for ReplayedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = self.frames.pop_front();
        Poll::Ready(frame.or_else(|| {
            let replay = self.starves.take()?;
            replay.starve();
            Some(Err(Error::HttpResponseIncomplete))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.starves.is_none()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, StatusCode};

    use super::super::recording::RecordedRequest;
    use super::*;

    const BYTES_MAX: u64 = 100;

    fn asked(path: &str) -> Asked {
        let url = format!("https://p.example{path}").parse().unwrap();
        Asked { method: Method::PUT, url, headers: HeaderMap::new(), body: path.into() }
    }

    fn replay(requests: &[(&str, BodyEnd)]) -> Arc<Replay> {
        let requests = requests.iter().map(|(path, end)| {
            let end = match end {
                BodyEnd::Unread => BodyEnd::Unread,
                BodyEnd::Whole => BodyEnd::Whole,
                BodyEnd::Broken(error) => BodyEnd::Broken(same(error)),
            };
            let (body, headers) = (b"answer".to_vec(), HeaderMap::new());
            let status = StatusCode::CREATED;
            let answer = RecordedAnswer { status, headers, body, trailers: None, end };
            RecordedRequest { asked: asked(path), answer: Some(Ok(answer)) }
        });
        Replay::new(Recording { requests: requests.collect(), ..Recording::default() })
    }

    async fn read(response: Response<WasiBody>) -> Result<Vec<u8>, Error> {
        Ok(response.into_body().collect().await?.to_bytes().to_vec())
    }

    #[tokio::test]
    async fn another_order_is_told_and_each_request_gets_its_own_answer() {
        let replay = replay(&[("/a", BodyEnd::Whole), ("/b", BodyEnd::Whole)]);
        for path in ["/b", "/a"] {
            let answer = replay.answer(&asked(path), BYTES_MAX).unwrap();
            assert_eq!(answer.status(), StatusCode::CREATED);
            assert_eq!(read(answer).await.unwrap(), b"answer");
        }
        let found = replay.differences().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].kind, DifferenceKind::RequestOrder);
    }

    #[tokio::test]
    async fn one_that_came_in_between_takes_no_others_answer() {
        let replay = replay(&[("/a", BodyEnd::Whole)]);
        let get = Asked { method: Method::GET, ..asked("/other") };
        let denied = replay.answer(&get, BYTES_MAX).unwrap_err();
        assert!(matches!(denied, Error::HttpRequestDenied));
        assert!(replay.answer(&asked("/a"), BYTES_MAX).is_ok());
        let elsewhere = Asked { url: "https://q.example/a".parse().unwrap(), ..asked("/a") };
        assert!(replay.answer(&elsewhere, BYTES_MAX).is_err());
        let kinds: Vec<_> = replay.differences().unwrap().iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [DifferenceKind::RequestAdded; 2]);
    }

    #[tokio::test]
    async fn an_answer_ends_as_it_ended_and_who_reads_on_cannot_be_compared() {
        let broken = BodyEnd::Broken(Error::ConnectionReadTimeout);
        let replay = replay(&[("/a", broken), ("/b", BodyEnd::Unread), ("/c", BodyEnd::Whole)]);
        let answer = replay.answer(&asked("/a"), BYTES_MAX).unwrap();
        assert!(matches!(read(answer).await, Err(Error::ConnectionReadTimeout)));
        let answer = replay.answer(&asked("/c"), 3).unwrap();
        assert!(matches!(read(answer).await, Err(Error::HttpResponseBodySize(Some(3)))));
        // Its head alone is enough for some.
        drop(replay.answer(&asked("/b"), BYTES_MAX).unwrap());
        assert!(replay.differences().is_some());
        let replay = self::replay(&[("/b", BodyEnd::Unread)]);
        assert!(read(replay.answer(&asked("/b"), BYTES_MAX).unwrap()).await.is_err());
        assert_eq!(replay.differences(), None);
    }
}
