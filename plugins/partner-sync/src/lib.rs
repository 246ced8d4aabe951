//! Keeps a partner's record of each withdrawal up to date: PUT `{base_url}/withdrawals/{id}`.
//!
//! A PUT says what the record is, not what to change, so that sending it twice does what sending it
//! once does. The one danger is order, which the manifest's `ordered = true` takes care of.

use std::time::Duration;

use serde::Deserialize;
use tidegate_plugin::{
    Event, Failure, Finding, Handler, Receipt, Reconciler, Withdrawal, done,
    http::{self, HttpError, Request, Response},
    reject, retry, retry_after, secrets, settings, unknown,
};

/// Enough of the partner's own words to see what it objects to.
const REASON_CHARS_MAX: usize = 500;
/// An answer larger than this is cut: it is kept with the event, for ever.
const DETAIL_BYTES_MAX: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    base_url: String,
    /// The name of the secret that the partner wants as a bearer token.
    api_key_secret: Option<String>,
    /// Shorter than the manifest's `limits.timeout`, so that a slow partner gets a reason.
    #[serde(default = "request_timeout_ms")]
    request_timeout_ms: u64,
}

fn request_timeout_ms() -> u64 {
    8_000
}

struct PartnerSync;

tidegate_plugin::export_reconciler!(PartnerSync);

impl Handler for PartnerSync {
    fn handle(event: &Event) -> Result<Receipt, Failure> {
        let settings: Settings = settings::get()?;
        let withdrawal: Withdrawal = event.payload()?;
        let request = http::put(record_url(&settings, &withdrawal))
            .header("Idempotency-Key", &event.idempotency_key)
            .json_text(&event.raw_payload);
        let response = prepare(&settings, request)?.send()?;
        if response.is_success() { Ok(receipt(&response)) } else { Err(failure(&response)) }
    }
}

impl Reconciler for PartnerSync {
    fn reconcile(event: &Event) -> Result<Finding, Failure> {
        let settings: Settings = settings::get()?;
        let withdrawal: Withdrawal = event.payload()?;
        let request = http::get(record_url(&settings, &withdrawal));
        let response = prepare(&settings, request)?.send().map_err(not_found_out)?;
        if response.status() == 404 {
            return Ok(Finding::DidNotHappen);
        }
        if !response.is_success() {
            return Err(failure(&response));
        }
        let record: Record = response.json().map_err(|error| unknown(error.to_string()))?;
        if has_reached(&record.status, &withdrawal.status) {
            Ok(Finding::Happened(receipt(&response)))
        } else {
            Ok(Finding::DidNotHappen)
        }
    }
}

/// What the partner knows, as far as it matters here.
#[derive(Deserialize)]
struct Record {
    status: String,
}

fn record_url(settings: &Settings, withdrawal: &Withdrawal) -> String {
    let base_url = settings.base_url.trim_end_matches('/');
    format!("{base_url}/withdrawals/{}", http::encode(&withdrawal.withdrawal_id))
}

fn prepare(settings: &Settings, request: Request) -> Result<Request, Failure> {
    let request = request
        .header("Accept", "application/json")
        .timeout(Duration::from_millis(settings.request_timeout_ms));
    Ok(match &settings.api_key_secret {
        Some(name) => request.bearer(secrets::get(name)?),
        None => request,
    })
}

/// A question that got no answer settles nothing, even if it was never sent: the earlier attempt
/// is still unknown, and the host must ask again.
fn not_found_out(error: HttpError) -> Failure {
    match error {
        HttpError::Invalid(_) => error.into(),
        HttpError::Denied(_) | HttpError::NotSent(_) | HttpError::MayHaveBeenSent(_) => {
            unknown(error.to_string())
        }
    }
}

/// The partner's answer is the operator's proof, so it is kept as it came where it can be.
fn receipt(response: &Response) -> Receipt {
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(response.bytes()).is_ok();
    if is_json && response.bytes().len() <= DETAIL_BYTES_MAX {
        return done().detail_text(response.text());
    }
    done().detail(serde_json::json!({
        "status": response.status(),
        "answer": response.excerpt(REASON_CHARS_MAX),
    }))
}

fn failure(response: &Response) -> Failure {
    let status = response.status();
    let words = response.excerpt(REASON_CHARS_MAX);
    let reason = if words.is_empty() {
        format!("the partner answered {status}")
    } else {
        format!("the partner answered {status}: {words}")
    };
    match status {
        429 | 503 => match response.retry_after() {
            Some(after) => retry_after(reason, after),
            None => retry(reason),
        },
        // Only the operator can repair this, and the event waits meanwhile.
        300..400 => {
            let location = response.header("location").unwrap_or("elsewhere");
            retry(format!("the partner answered {status} and points to {location}; see base_url"))
        }
        400..500 => reject(reason),
        _ => retry(reason),
    }
}

/// A record never goes back, so a later status proves that an earlier one was written. CONFIRMED
/// and FAILED are both ends: neither proves the other.
fn has_reached(recorded: &str, wanted: &str) -> bool {
    let rank = |status: &str| match status {
        "REQUESTED" => Some(0),
        "BROADCASTED" => Some(1),
        "CONFIRMED" | "FAILED" => Some(2),
        _ => None,
    };
    match (rank(recorded), rank(wanted)) {
        _ if recorded == wanted => true,
        (Some(recorded), Some(wanted)) => recorded > wanted,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
