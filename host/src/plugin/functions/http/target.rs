//! What an answer says of its target: whose breaker it is, and whether it worked.

use wasmtime_wasi_http::Error;

use super::super::super::state::CallFacts;
use super::Answer;

/// Host and port: whose breaker it is.
pub(super) fn of(uri: &http::Uri) -> String {
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    format!("{}:{port}", uri.host().unwrap_or_default().to_ascii_lowercase())
}

/// Overloaded and broken targets answer, too.
pub(super) fn report(facts: &CallFacts, target: &str, answer: &Result<Answer, Error>) {
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
