//! The external service that may forbid a payment: one signed request before the first signature,
//! and nothing but a clear yes is one.

use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, Mac};
use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;
use url::Url;

use crate::domain::{ExternalAnswer, Timestamp, Withdrawal};

/// A decision is a line of JSON; whoever sends more has not understood the question.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// What is kept of a stranger's reason.
const REASON_CHARS_MAX: usize = 300;

/// How the service is reached.
#[derive(Debug)]
pub struct ExternalPolicy {
    url: Url,
    secret: Secret,
    client: Client,
}

/// The key of the HMAC. Never shown.
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

#[derive(Deserialize)]
struct Reply {
    decision: String,
    /// What was asked, so that an answer to something else is none.
    request: String,
    #[serde(default)]
    reason: Option<String>,
}

impl ExternalPolicy {
    /// # Errors
    /// TLS cannot be set up. The text says why.
    pub fn new(url: Url, secret: String, timeout: Duration) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        if url.scheme() == "https" {
            let (added, _) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if added == 0 {
                return Err("this system has no root certificates".to_owned());
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(timeout)
            .connect_timeout(timeout)
            // What is configured is what is asked: nobody on the way decides who answers.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| error.without_url().to_string())?;
        Ok(Self { url, secret: Secret(secret), client })
    }

    /// Asks about exactly this. `request` is the digest of the facts and the rules' version.
    ///
    /// # Errors
    /// There is no clear answer. The text says why, and names no URL, which may hold a key.
    pub async fn ask(
        &self,
        withdrawal: &Withdrawal,
        request: &str,
        policy_version: &str,
        at: Timestamp,
    ) -> Result<ExternalAnswer, String> {
        let asked = &withdrawal.request;
        let body = json!({
            "request": request,
            "withdrawal_id": withdrawal.id.to_string(),
            "user_id": asked.user_id,
            "asset": asked.asset,
            "network": asked.network.as_str(),
            "amount": asked.amount.to_string(),
            "destination_address": asked.destination_address,
            "requested_at": withdrawal.requested_at.to_rfc3339(),
            "policy_version": policy_version,
        })
        .to_string();
        let timestamp = at.timestamp().to_string();
        let signature = self.signature(&timestamp, &body)?;
        let no_answer = |error: reqwest::Error| describe(&error.without_url());
        let mut response = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("tidegate-timestamp", timestamp)
            .header("tidegate-signature", format!("v1={signature}"))
            .body(body)
            .send()
            .await
            .map_err(no_answer)?;
        if response.status().as_u16() != 200 {
            return Err(format!("it answered with status {}", response.status().as_u16()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err("its answer is too large".to_owned());
            }
            bytes.extend_from_slice(&chunk);
        }
        read(&bytes, request)
    }

    /// HMAC-SHA256 over the timestamp, a full stop, and the body; in hexadecimal.
    fn signature(&self, timestamp: &str, body: &str) -> Result<String, String> {
        let mut hmac = Hmac::<Sha256>::new_from_slice(self.secret.0.as_bytes())
            .map_err(|error| error.to_string())?;
        hmac.update(timestamp.as_bytes());
        hmac.update(b".");
        hmac.update(body.as_bytes());
        let bytes = hmac.finalize().into_bytes();
        Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn read(bytes: &[u8], request: &str) -> Result<ExternalAnswer, String> {
    let reply: Reply =
        serde_json::from_slice(bytes).map_err(|_| "its answer cannot be read".to_owned())?;
    if reply.request != request {
        return Err("its answer is about another request".to_owned());
    }
    let reason = reply.reason.unwrap_or_default();
    let reason: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(REASON_CHARS_MAX)
        .collect();
    match reply.decision.as_str() {
        "allow" => Ok(ExternalAnswer::Allow),
        "deny" if reason.is_empty() => {
            Ok(ExternalAnswer::Deny { reason: "no reason given".to_owned() })
        }
        "deny" => Ok(ExternalAnswer::Deny { reason }),
        "wait" if reason.is_empty() => Err("it says to wait".to_owned()),
        "wait" => Err(format!("it says to wait: {reason}")),
        _ => Err("its decision is none of allow, deny and wait".to_owned()),
    }
}

/// The error and what caused it: reqwest's own text says no more than "error sending request".
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "external_policy_test.rs"]
mod tests;
