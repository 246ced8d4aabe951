//! One request over `wasi:http`, written and read to its end.

use wasip2::{
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody,
            OutgoingRequest, RequestOptions, Scheme, http_error_code,
        },
    },
    io::streams::StreamError,
};

use crate::http::{HttpError, Phase, Prepared, Response, error_of};

/// `blocking-write-and-flush` takes at most this much.
const WRITE_BYTES_MAX: usize = 4096;
const READ_BYTES_MAX: u64 = 64 * 1024;

pub(crate) fn http(prepared: &Prepared) -> Result<Response, HttpError> {
    let call = prepared.call();
    let request = outgoing_request(prepared).map_err(HttpError::Invalid)?;
    let body = request
        .body()
        .map_err(|()| HttpError::Invalid(format!("{call}: the request has no body")))?;
    let answer = outgoing_handler::handle(request, options(prepared))
        .map_err(|code| error_of(&code, Phase::Request, &call))?;
    // A body that cannot be written is no verdict: the target may have answered early, or the host
    // may have refused the request. What became of the call is in the answer.
    write_body(body, prepared.body.as_deref().unwrap_or_default());
    let response = loop {
        match answer.get() {
            Some(Ok(Ok(response))) => break response,
            Some(Ok(Err(code))) => return Err(error_of(&code, Phase::Request, &call)),
            // The future was read before, which the loop's end rules out.
            Some(Err(())) => {
                return Err(HttpError::MayHaveBeenSent(format!("{call}: the answer is gone")));
            }
            None => answer.subscribe().block(),
        }
    };
    read_response(response, &call)
}

fn outgoing_request(prepared: &Prepared) -> Result<OutgoingRequest, String> {
    let headers = Fields::new();
    for (name, value) in &prepared.headers {
        headers
            .append(name, value.as_bytes())
            .map_err(|error| format!("the header {name}: {error}"))?;
    }
    let method = match prepared.method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        other => Method::Other(other.to_string()),
    };
    let target = &prepared.target;
    let scheme = if target.https { Scheme::Https } else { Scheme::Http };
    let request = OutgoingRequest::new(headers);
    request.set_method(&method).map_err(|()| format!("the method {}", prepared.method))?;
    request.set_scheme(Some(&scheme)).map_err(|()| "the scheme of the address")?;
    request.set_authority(Some(&target.authority)).map_err(|()| "the host of the address")?;
    request
        .set_path_with_query(Some(&target.path_and_query))
        .map_err(|()| "the path of the address")?;
    Ok(request)
}

/// A host that does not support one of them bounds the call by itself.
fn options(prepared: &Prepared) -> Option<RequestOptions> {
    let timeout_ns = u64::try_from(prepared.timeout?.as_nanos()).unwrap_or(u64::MAX);
    let options = RequestOptions::new();
    let _ = options.set_connect_timeout(Some(timeout_ns));
    let _ = options.set_first_byte_timeout(Some(timeout_ns));
    let _ = options.set_between_bytes_timeout(Some(timeout_ns));
    Some(options)
}

fn write_body(body: OutgoingBody, bytes: &[u8]) {
    if let Ok(stream) = body.write() {
        for chunk in bytes.chunks(WRITE_BYTES_MAX) {
            if stream.blocking_write_and_flush(chunk).is_err() {
                break;
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

fn read_response(response: IncomingResponse, call: &str) -> Result<Response, HttpError> {
    let status = response.status();
    let headers = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let body = response
        .consume()
        .map_err(|()| HttpError::MayHaveBeenSent(format!("{call}: the answer is gone")))?;
    let bytes = read_body(&body).map_err(|code| error_of(&code, Phase::Body, call))?;
    Ok(Response::new(status, headers, bytes))
}

fn read_body(body: &IncomingBody) -> Result<Vec<u8>, ErrorCode> {
    let stream = body.stream().map_err(|()| ErrorCode::InternalError(None))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES_MAX) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(http_error_code(&error)
                    .unwrap_or_else(|| ErrorCode::InternalError(Some(error.to_debug_string()))));
            }
        }
    }
}
