//! What a guest can ask the host for, with or without a grant.

use serde_json::json;
use tidegate_plugin::messaging::{self, Message};
use tidegate_plugin::signer::{self, Transaction};
use tidegate_plugin::{Failure, Receipt, checkpoint, done, http, reject, retry, secrets, settings};

use crate::{Deed, Payload, requests};

/// Documentation addresses (RFC 5737): nobody is there, and no manifest grants it.
const FORBIDDEN_URL: &str = "http://198.51.100.7/";
/// Far beyond any `limits.log_lines`.
const FLOOD_LINES: u32 = 1_000_000;

/// Carries out the deeds that need the host.
pub(crate) fn call(deed: Deed, payload: &Payload) -> Result<Receipt, Failure> {
    let text = payload.text.as_str();
    match deed {
        Deed::ForbiddenCall => match http::get(FORBIDDEN_URL).send() {
            Ok(response) => Ok(done().detail(response.status())),
            Err(error) => Err(retry(error.to_string())),
        },
        Deed::LogFlood => {
            for line in 0..FLOOD_LINES {
                tidegate_plugin::info!("line {line}\nwith a line break and a bell \u{7}");
            }
            Ok(done())
        }
        Deed::ForbiddenSecret => {
            secrets::get("NOT_GRANTED")?;
            Ok(done())
        }
        Deed::Log => {
            for _ in 0..payload.count {
                tidegate_plugin::log::info(text);
            }
            Ok(done())
        }
        Deed::Call => send(payload, None),
        Deed::CallWithSecret => send(payload, Some(&secrets::get(text)?)),
        Deed::CallTemplate => requests::templated(payload, &secrets::get(text)?),
        Deed::CallRaw => requests::raw(payload),
        Deed::TellSecret => requests::tell(payload, secrets::get(text)?.as_str()),
        Deed::CallWithoutEnd => requests::without_end(&payload.url),
        Deed::Secret => {
            let mut value = secrets::get(text)?;
            for _ in 1..payload.count {
                value = secrets::get(text)?;
            }
            Ok(done().detail(value.as_str()))
        }
        Deed::Hmac => {
            let message = if payload.bytes > 0 {
                vec![0; payload.bytes]
            } else {
                payload.body.clone().into()
            };
            let hmac = secrets::hmac_sha256(text, &message)?;
            Ok(done().detail(hmac.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
        }
        Deed::Publish => publish(payload),
        Deed::Save => {
            for _ in 0..payload.count {
                // One character a byte, and two quotation marks.
                checkpoint::save(&"x".repeat(payload.bytes.saturating_sub(2)))?;
            }
            Ok(done())
        }
        Deed::Load => Ok(done().detail(checkpoint::load::<String>()?.map(|it| it.len()))),
        Deed::Settings => Ok(done().detail(settings::get::<serde_json::Value>()?)),
        Deed::Terms => {
            let terms = signer::terms(text, "ETH")?;
            Ok(done().detail(json!({ "account": terms.account, "decimals": terms.decimals })))
        }
        Deed::Sign => sign(payload),
        Deed::Signed => Ok(done().detail(signer::signed()?.map(|it| it.hash))),
        other => Err(reject(format!("{other:?} needs no host"))),
    }
}

fn send(payload: &Payload, secret: Option<&secrets::Secret>) -> Result<Receipt, Failure> {
    let mut last = json!(null);
    for _ in 0..payload.count {
        let mut request = http::Request::new(&*payload.method, &*payload.url);
        for (name, value) in &payload.headers {
            request = request.header(name, value);
        }
        if let Some(secret) = secret {
            request = request.bearer(secret);
        }
        if payload.bytes > 0 {
            request = request.body("text/plain", vec![b'x'; payload.bytes]);
        }
        if payload.ms > 0 {
            request = request.timeout(std::time::Duration::from_millis(payload.ms));
        }
        let response = request.send()?;
        last = json!({ "status": response.status(), "bytes": response.bytes().len() });
    }
    Ok(done().detail(last))
}

fn publish(payload: &Payload) -> Result<Receipt, Failure> {
    for number in 0..payload.count {
        messaging::publish(Message {
            topic: payload.text.clone(),
            id: format!("message-{number}"),
            content_type: "text/plain".into(),
            body: vec![b'x'; payload.bytes],
        })?;
    }
    Ok(done())
}

fn sign(payload: &Payload) -> Result<Receipt, Failure> {
    let signed = signer::sign(&Transaction {
        chain_id: payload.count.into(),
        to: "0x00000000000000000000000000000000000000aa".into(),
        value: "1".into(),
        data: vec![0; payload.bytes],
        gas_limit: 21_000,
        max_fee_per_gas: "2".into(),
        max_priority_fee_per_gas: "1".into(),
    })?;
    Ok(done().detail(signed.hash))
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn only_in_a_component() -> Failure {
    retry("only a component can do this")
}
