//! `wasi:http/outgoing-handler`: where the egress policy is applied to a call's requests.
//!
//! A request is admitted (`admit`), its secrets are filled in last (`fill`), it is sent within its
//! bounds (`send`, `body`), and whatever becomes of it is recorded and counted (`exchange`).

mod admit;
mod body;
mod exchange;
mod fill;
mod recorded;
mod send;
mod target;

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderName, Request, Response, header};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

use super::super::egress::Egress as Connections;
use super::super::shadow::{Asked, Recorder, Tape};
use super::super::state::CallFacts;
use super::super::way::Way;
use admit::Admitted;
use exchange::Exchange;

/// How long a denied guest may go on writing before it gets the answer.
const DRAIN_WITHIN: Duration = Duration::from_millis(200);

/// What one write of a guest into a body holds at most. Two of them are kept of a body that nobody
/// takes, and a guest may have hundreds of such bodies.
const BODY_CHUNK_BYTES: usize = 16 << 10;

/// The hooks of one call.
pub(crate) struct Egress {
    pub(crate) facts: Arc<CallFacts>,
}

type Answer = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// Headers of the connection, which is the host's own.
static FORBIDDEN: LazyLock<ForbiddenHeaderFilter> = LazyLock::new(|| {
    const OF_THE_CONNECTION: [HeaderName; 3] = [header::TE, header::TRAILER, header::EXPECT];
    Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name) || OF_THE_CONNECTION.contains(name))
});

impl WasiHttpHooks for Egress {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::clone(&FORBIDDEN)
    }

    fn set_host_header(&mut self) -> bool {
        // The pool's client writes one, of the address that was checked, where the protocol has it:
        // HTTP/2 has none beside `:authority`.
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _consumed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let facts = Arc::clone(&self.facts);
        let options = options.unwrap_or_default();
        Box::new(async move {
            match &facts.way {
                Way::Out { connections, recorder } => {
                    let recorder = recorder.as_ref();
                    carry(&facts, (connections, recorder), request, options).await
                }
                Way::Nowhere(replay) => recorded::answer(&facts, replay, request, options).await,
            }
        })
    }
}

async fn carry(
    facts: &Arc<CallFacts>,
    (connections, recorder): (&Arc<Connections>, Option<&Arc<Recorder>>),
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Answer, Error> {
    let mut exchange = Exchange::begin(facts, connections, &request);
    // Before the host adds its own.
    let headers = recorder.map(|_| request.headers().clone());
    let admitted = match admit::admit(facts, &mut request) {
        Ok(admitted) => admitted,
        Err(error) => {
            exchange.deny();
            drop(exchange);
            return refuse(facts, request, error).await;
        }
    };
    exchange.admitted(&admitted);
    let target = target::of(request.uri());
    if !facts.targets.may_ask(&target).await {
        exchange.fail("breaker");
        drop(exchange);
        facts.note(format!("the breaker of {target} is open: nothing was sent"));
        return refuse(facts, request, Error::DestinationUnavailable).await;
    }
    facts.host_waits.during(facts.release.outbound.audit.room()).await;
    let body = match fill::fill(facts, &mut request, &admitted).await {
        Ok(body) => body,
        Err(reason) => {
            exchange.deny();
            drop(exchange);
            facts.note(reason);
            return refuse(facts, request, Error::HttpRequestDenied).await;
        }
    };
    let tape = recorder
        .zip(headers)
        .map(|(recorder, headers)| recorder.request(asked(&request, &admitted, headers)));
    if let Some(tape) = &tape {
        request = request.map(|body| tape.request_body(body));
    }
    facts.targets.asked(&target);
    let answer = send::send(facts, request, body, &admitted, &options, exchange).await;
    target::report(facts, &target, &answer);
    taped(tape.as_ref(), answer)
}

/// The request as its guest made it, but for its body, which comes later.
fn asked(request: &Request<WasiBody>, admitted: &Admitted, headers: http::HeaderMap) -> Asked {
    let (method, url) = (request.method().clone(), admitted.url.clone());
    Asked { method, url, headers, body: Vec::new() }
}

/// The answer, on its way past the tape.
fn taped(tape: Option<&Tape>, answer: Result<Answer, Error>) -> Result<Answer, Error> {
    let Some(tape) = tape else { return answer };
    match answer {
        Ok((answer, sent)) => Ok((tape.answered(answer), sent)),
        Err(error) => {
            tape.failed(&error);
            Err(error)
        }
    }
}

/// Answers a denied guest once it has written its body: else, still writing, it would see a closed
/// stream and not the reason.
async fn refuse(
    facts: &CallFacts,
    request: Request<WasiBody>,
    error: Error,
) -> Result<Answer, Error> {
    let bytes_max = facts.release.manifest.limits.request_body;
    // Whoever writes for longer than this gets the reason all the same.
    let _ = tokio::time::timeout(DRAIN_WITHIN, drain(request, bytes_max)).await;
    Err(error)
}

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
