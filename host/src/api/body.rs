//! A request's body: its type, its size, its time, and then JSON.

use axum::body::{Body, Bytes, to_bytes};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

use super::json::{self, Json};
use super::problem::{Problem, ProblemKind};
use super::state::Limits;

/// Reads a body that must be JSON.
pub(super) async fn read_json(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<Json, Problem> {
    let bytes = read_body(headers, body, limits).await?;
    json::parse(&bytes).map_err(|e| Problem::new(ProblemKind::InvalidJson, e.to_string()))
}

/// Reads a body that says of itself that it is JSON.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<Bytes, Problem> {
    check_type(headers)?;
    read_bytes(headers, body, limits).await
}

/// Reads a body of whatever type.
pub(super) async fn read_bytes(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<Bytes, Problem> {
    let too_large = || {
        let max = limits.body_bytes_max;
        Problem::new(ProblemKind::BodyTooLarge, format!("A body has at most {max} bytes."))
    };
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limits.body_bytes_max) {
        return Err(too_large());
    }
    let read = to_bytes(body, limits.body_bytes_max);
    match tokio::time::timeout(limits.body_timeout, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // Either it is too large, or the caller is gone and nobody reads the answer.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let detail = "The body stopped arriving. Send the request again.";
            Err(Problem::new(ProblemKind::RequestTimeout, detail))
        }
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail| Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (Some(value), None) if is_json(value) => {}
        _ => return unsupported("Send the body as `Content-Type: application/json`, in UTF-8."),
    }
    match headers.get(CONTENT_ENCODING) {
        Some(coding) if !coding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            unsupported("Send the body without Content-Encoding.")
        }
        Some(_) | None => Ok(()),
    }
}

/// `application/json`, in UTF-8 if it says anything about that.
fn is_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let json = parts.next().is_some_and(|t| t.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
            charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        Some(_) | None => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_json() {
        let json = |text: &'static str| is_json(&HeaderValue::from_static(text));
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json; profile=x",
        ] {
            assert!(json(good), "{good}");
        }
        for bad in ["", "text/plain", "application/jsonx", "application/json; charset=latin1"] {
            assert!(!json(bad), "{bad}");
        }
    }
}
