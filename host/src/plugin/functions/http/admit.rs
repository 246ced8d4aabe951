//! Holds a request against the grants, and gives it the form in which it was checked.

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use url::Url;
use wasmtime_wasi_http::{Error, WasiBody};

use super::super::super::grants::{Wanted, canonical_host};
use super::super::super::state::CallFacts;

/// A request that a grant allows.
pub(super) struct Admitted {
    /// The grant's place in `grants.http`.
    pub(super) grant: usize,
    pub(super) url: Url,
}

/// Applies the policy, and adds the host's headers to a request that it lets out.
pub(super) fn admit(facts: &CallFacts, request: &mut Request<WasiBody>) -> Result<Admitted, Error> {
    let denied = |reason: String| {
        facts.note(reason);
        Error::HttpRequestDenied
    };
    let number = facts.count_request().map_err(denied)?;
    // While a withdrawal is judged, nothing goes out.
    facts.working().map_err(denied)?;
    if !is_sendable(request.method()) {
        facts.note(format!("the method {} is never sent", request.method().as_str()));
        return Err(Error::HttpRequestMethodInvalid);
    }
    let uri = request.uri();
    // Userinfo would be sent as part of the Host header.
    let userinfo = uri.authority().is_none_or(|authority| authority.as_str().contains('@'));
    let url = match Url::parse(&uri.to_string()) {
        Ok(url) if !userinfo => url,
        Ok(_) | Err(_) => return Err(Error::HttpRequestUriInvalid),
    };
    let manifest = &facts.release.manifest;
    let wanted = Wanted { method: request.method().as_str(), url: &url, path: uri.path() };
    let grant = manifest.grants.admit(wanted).map_err(|line| {
        let origin = url.origin().ascii_serialization();
        denied(format!(
            "request to {origin} denied: to allow it, put {line} into grants.http of {}",
            manifest.name
        ))
    })?;
    *request.uri_mut() = canonical(uri, &url).ok_or(Error::HttpRequestUriInvalid)?;
    // A guest cannot set it; whatever did is not to be believed.
    request.headers_mut().remove(header::HOST);
    add_headers(facts, request.headers_mut(), number).map_err(denied)?;
    Ok(Admitted { grant, url })
}

/// A tunnel leads to where no grant does, and a trace shows headers to whoever asks. Servers exist
/// that read methods in any case.
fn is_sendable(method: &Method) -> bool {
    !["CONNECT", "TRACE", "TRACK"].iter().any(|no| method.as_str().eq_ignore_ascii_case(no))
}

/// The same address in its one spelling: pools, names of hosts and certificates go by what was
/// checked, and not by what a guest called it.
fn canonical(uri: &Uri, url: &Url) -> Option<Uri> {
    let host = canonical_host(url)?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_string(),
    };
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(authority.parse::<Authority>().ok()?);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).ok()
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
    Ok(())
}
