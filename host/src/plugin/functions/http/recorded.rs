//! The requests of a shadow: held against the grants, read to their end, and answered from the
//! recording. Nothing here has a connection, and nothing is audited, for nothing leaves the host.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::super::super::shadow::Replay;
use super::super::super::state::CallFacts;
use super::{Answer, admit, asked, fill, refuse, send};

/// Of a body that is compared. What is longer was not recorded either.
const BODY_BYTES_MAX: usize = 1 << 20;

pub(super) async fn answer(
    facts: &Arc<CallFacts>,
    replay: &Arc<Replay>,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Answer, Error> {
    let headers = request.headers().clone();
    let admitted = match admit::admit(facts, &mut request) {
        Ok(admitted) => admitted,
        Err(error) => return refuse(facts, request, error).await,
    };
    // What may not hold a secret there is refused as it would be outside. The values go nowhere.
    let filled = match fill::fill(facts, &mut request, &admitted).await {
        Ok(filled) => filled,
        Err(reason) => {
            facts.note(reason);
            return refuse(facts, request, Error::HttpRequestDenied).await;
        }
    };
    let mut asked = asked(&request, &admitted, headers);
    let body = Arc::<Mutex<Vec<u8>>>::default();
    let request = request.map(|guest| copied(guest, &body));
    let deadline = send::times(facts, &admitted, &options).deadline;
    let read = async {
        let prepared = send::prepare(facts, request, filled, Arc::default(), deadline).await;
        prepared.map_err(|(error, _)| error)?.into_body().collect().await
    };
    let read = tokio::time::timeout_at(deadline, read).await;
    asked.body = std::mem::take(&mut *body.lock().unwrap_or_else(PoisonError::into_inner));
    // Compared in any case.
    let answer = replay.answer(&asked, facts.release.manifest.limits.response_body);
    read.map_err(|_| Error::ConnectionWriteTimeout)??;
    match &answer {
        Err(Error::HttpRequestDenied) => {
            facts.note("the live release did not make this request".to_owned());
        }
        answer if Replay::may_have_left(answer) => facts.departs(),
        _ => {}
    }
    Ok((answer?, Box::new(async { Ok(()) })))
}

/// A body, copied as it is read.
fn copied(guest: WasiBody, into: &Arc<Mutex<Vec<u8>>>) -> WasiBody {
    let into = Arc::clone(into);
    let copy = move |frame: http_body::Frame<Bytes>| {
        if let Some(data) = frame.data_ref() {
            let mut copied = into.lock().unwrap_or_else(PoisonError::into_inner);
            let room = BODY_BYTES_MAX.saturating_sub(copied.len());
            copied.extend_from_slice(&data[..data.len().min(room)]);
        }
        frame
    };
    guest.map_frame(copy).boxed_unsync()
}
