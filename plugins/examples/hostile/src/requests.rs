//! Requests and secrets as no decent handler uses them.

use serde_json::json;
#[cfg(target_arch = "wasm32")]
use tidegate_plugin::retry;
use tidegate_plugin::{Failure, Receipt, done, http, reject, secrets};

use crate::Payload;

pub(crate) fn templated(payload: &Payload, secret: &secrets::Secret) -> Result<Receipt, Failure> {
    let fill = |text: &str| {
        let basic = format!("Basic {}", base64(format!("user:{}", secret.as_str()).as_bytes()));
        text.replace("{secret}", secret.as_str()).replace("{basic}", &basic)
    };
    let mut request = http::Request::new(&*payload.method, fill(&payload.url));
    for (name, value) in &payload.headers {
        request = request.header(name, fill(value));
    }
    if !payload.body.is_empty() {
        request = request.body(&payload.content_type, fill(&payload.body).into_bytes());
    }
    let response = request.send()?;
    let text = String::from_utf8_lossy(response.bytes()).into_owned();
    Ok(done().detail(json!({ "status": response.status(), "text": text })))
}

/// Tells a secret in a text that people read.
pub(crate) fn tell(payload: &Payload, secret: &str) -> Result<Receipt, Failure> {
    let spelled = match payload.method.as_str() {
        "base64" => base64(secret.as_bytes()),
        "hex" => secret.bytes().map(|byte| format!("{byte:02X}")).collect(),
        "percent" => secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        "json" => json!(secret).to_string().trim_matches('"').to_owned(),
        "debug" => secret.escape_debug().to_string(),
        _ => secret.to_owned(),
    };
    let text = format!("it is {spelled}");
    if payload.method == "escapes" {
        // Only who reads the JSON sees it.
        let escaped: String = text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
        match payload.how.as_str() {
            "detail" => return Ok(done().detail_text(format!("\"{escaped}\""))),
            "follow_up" => {
                let mut receipt = done();
                receipt.follow_ups = vec![tidegate_plugin::FollowUp {
                    event_type: "TOLD".into(),
                    payload: format!("[\"{escaped}\"]"),
                }];
                return Ok(receipt);
            }
            _ => {}
        }
    }
    match payload.how.as_str() {
        "detail" => Ok(done().detail(text)),
        "panic" => crate::deeds::panic_with(&text),
        "log" => {
            tidegate_plugin::log::info(&text);
            Ok(done())
        }
        "follow_up" => Ok(done().follow_up("TOLD", json!({ "it": spelled }))),
        _ => Err(reject(text)),
    }
}

/// RFC 4648, for a secret of a few bytes.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let part = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = part(0) << 16 | part(1) << 8 | part(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

/// One request as the payload says, past the SDK and its checks.
#[cfg(target_arch = "wasm32")]
pub(crate) fn raw(payload: &Payload) -> Result<Receipt, Failure> {
    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, Scheme};

    let headers = Fields::new();
    for (name, value) in &payload.headers {
        headers.append(name, value.as_bytes()).map_err(|error| reject(format!("{error:?}")))?;
    }
    let request = OutgoingRequest::new(headers);
    let rest = payload.url.trim_start_matches("http://");
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let set = |what: Result<(), ()>| what.map_err(|()| reject("the host does not take it"));
    set(request.set_method(&Method::Other(payload.method.clone())))?;
    set(request.set_scheme(Some(&Scheme::Http)))?;
    set(request.set_authority(Some(authority)))?;
    set(request.set_path_with_query(Some(path)))?;
    let body = request.body().map_err(|()| reject("no body"))?;
    let answer = outgoing_handler::handle(request, None)
        .map_err(|code| retry(format!("refused at once: {code:?}")))?;
    if !payload.body.is_empty() {
        let secret = secrets::get(&payload.text)?;
        let text = payload.body.replace("{secret}", secret.as_str());
        // In pieces, cut inside of the placeholder.
        if let Ok(stream) = body.write() {
            for piece in text.as_bytes().chunks(11) {
                // What became of it is in the answer.
                let _ = stream.blocking_write_and_flush(piece);
            }
        }
    }
    let _ = OutgoingBody::finish(body, None);
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(Ok(response))) => Ok(done().detail(response.status())),
        Some(Ok(Err(code))) => Err(retry(format!("{code:?}"))),
        Some(Err(())) | None => Err(retry("no answer")),
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn raw(_payload: &Payload) -> Result<Receipt, Failure> {
    Err(crate::host_functions::only_in_a_component())
}

/// Waits for the answer to a request whose body it never finishes.
#[cfg(target_arch = "wasm32")]
pub(crate) fn without_end(url: &str) -> Result<Receipt, Failure> {
    use wasip2::http::outgoing_handler;
    use wasip2::http::types::{Fields, Method, OutgoingRequest, Scheme};

    let request = OutgoingRequest::new(Fields::new());
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let prepared = request.set_method(&Method::Put).is_ok()
        && request.set_scheme(Some(&Scheme::Http)).is_ok()
        && request.set_authority(Some(authority)).is_ok()
        && request.set_path_with_query(Some("/")).is_ok();
    let body = request.body();
    if !prepared || body.is_err() {
        return Err(reject("no such request can be made"));
    }
    let answer = outgoing_handler::handle(request, None)
        .map_err(|code| retry(format!("refused at once: {code:?}")))?;
    answer.subscribe().block();
    let outcome = match answer.get() {
        Some(Ok(Ok(response))) => Ok(done().detail(response.status())),
        Some(Ok(Err(code))) => Err(retry(format!("{code:?}"))),
        Some(Err(())) | None => Err(retry("no answer")),
    };
    drop(body);
    outcome
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn without_end(_url: &str) -> Result<Receipt, Failure> {
    Err(crate::host_functions::only_in_a_component())
}
