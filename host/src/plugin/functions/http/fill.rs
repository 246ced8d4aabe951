//! Puts the values of secrets into a request that was checked and is recorded without them.

use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http_body::Body;
use wasmtime_wasi_http::WasiBody;

use super::super::super::secrecy::{Filler, Form, PLACEHOLDER_PREFIX};
use super::super::super::state::CallFacts;
use super::admit::Admitted;

/// Fills in headers and query, and answers with what the body is filled.
///
/// # Errors
/// Why a placeholder must not be where it is. Never says anything of a value.
pub(super) async fn fill(
    facts: &CallFacts,
    request: &mut Request<WasiBody>,
    admitted: &Admitted,
) -> Result<Option<(Filler, Form)>, String> {
    if facts.release.placeholders.is_empty() {
        return Ok(None);
    }
    if request.uri().path().contains(PLACEHOLDER_PREFIX) {
        return Err("a secret may stand in a header, a query value or a text body, and not in a \
                    path, which logs hold"
            .into());
    }
    let form = body_form(request);
    let head = request.uri().query().is_some_and(|query| query.contains(PLACEHOLDER_PREFIX))
        || request.headers().values().any(may_hold);
    if !head && form.is_none() {
        return Ok(None);
    }
    let filler = filler(facts, admitted).await?;
    // What comes back is looked through for what was sent, which in compressed form nobody can.
    request.headers_mut().remove(header::ACCEPT_ENCODING);
    if head {
        fill_headers(request.headers_mut(), &filler)?;
        if let Some(uri) = fill_query(request.uri(), &filler)? {
            *request.uri_mut() = uri;
        }
    }
    Ok(form.map(|form| (filler, form)))
}

/// How the body is filled; none if there is no body, or no text in it.
fn body_form(request: &Request<WasiBody>) -> Option<Form> {
    if request.body().is_end_stream() {
        return None;
    }
    let content_type = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    Form::of_body(content_type)
}

fn may_hold(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    text.contains(PLACEHOLDER_PREFIX) || text.starts_with("Basic ")
}

/// What each of the plugin's placeholders becomes in a request to this address.
async fn filler(facts: &CallFacts, admitted: &Admitted) -> Result<Filler, String> {
    let (_, services) = facts.working()?;
    let release = &facts.release;
    let mut entries = Vec::with_capacity(release.placeholders.len());
    for (name, placeholder) in &release.placeholders {
        let Some(grant) = release.manifest.grants.secret(name) else { continue };
        let value = if grant.may_go_to(&admitted.url) {
            services.secrets.value(name).await.map_err(|error| error.to_string())
        } else {
            let origin = admitted.url.origin().ascii_serialization();
            Err(format!(
                "the secret {name:?} may not go to {origin}: to allow it, add {origin:?} to its \
                 hosts in grants.secrets of {}",
                release.manifest.name
            ))
        };
        if let Ok(value) = &value {
            release.outbound.redactor.learn(name, value);
        }
        entries.push((placeholder.clone(), value));
    }
    Ok(Filler { entries })
}

fn fill_headers(headers: &mut HeaderMap, filler: &Filler) -> Result<(), String> {
    for (name, value) in headers.iter_mut() {
        let Ok(text) = value.to_str() else { continue };
        let Some(filled) = filler.header(text)? else { continue };
        let mut filled = HeaderValue::from_str(&filled).map_err(|_| {
            format!(
                "the secret in the header {name} has a line break or a control character, which no \
                 header can hold"
            )
        })?;
        filled.set_sensitive(true);
        *value = filled;
    }
    Ok(())
}

fn fill_query(uri: &Uri, filler: &Filler) -> Result<Option<Uri>, String> {
    let Some(query) = uri.query() else { return Ok(None) };
    let Some(filled) = filler.text(query, Form::Url)? else { return Ok(None) };
    let mut parts = uri.clone().into_parts();
    let target = format!("{}?{filled}", uri.path());
    let unfit = || "the address is too long with its secret".to_owned();
    parts.path_and_query = Some(target.parse().map_err(|_| unfit())?);
    Uri::from_parts(parts).map(Some).map_err(|_| unfit())
}
