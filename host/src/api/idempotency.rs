//! `Idempotency-Key`, as draft-ietf-httpapi-idempotency-key-header has it.
//!
//! The header is a structured-field string (RFC 8941): `"8e03978e-40d5"`, in quotes. A bare token is
//! taken too, for people with curl; both forms of one text are one key. The answer that was given
//! is kept by the store; what is still in hand is known here.

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

use crate::store::IdempotencyClaim;

use super::json::Json;
use super::problem::{FieldError, Problem, ProblemKind};

pub(super) const HEADER: &str = "idempotency-key";
pub(super) const REPLAYED_HEADER: &str = "idempotency-replayed";

const KEY_BYTES_MAX: usize = 255;

/// What a caller should wait while its first request is still in hand.
const IN_FLIGHT_RETRY_S: u32 = 1;

/// The key of a request.
pub(super) fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        let detail = "Send the header `Idempotency-Key: \"…\"` with a text of your own that is new \
                      for each request, such as a UUID, and the same when you send it again.";
        let missing = FieldError::new("Idempotency-Key", "required", "is missing");
        return Err(Problem {
            errors: vec![missing],
            ..Problem::new(ProblemKind::IdempotencyKeyMissing, detail)
        });
    };
    if values.next().is_some() {
        return Err(invalid("is given more than once"));
    }
    value
        .to_str()
        .ok()
        .and_then(|text| parse_key(text.trim()))
        .ok_or_else(|| invalid("needs 1 to 255 visible ASCII characters, in double quotes"))
}

/// The same for the fuzz targets, which have no problems to read.
#[cfg(fuzzing)]
pub(crate) fn parsed_key(headers: &HeaderMap) -> Option<String> {
    key_of(headers).ok()
}

fn invalid(what: &str) -> Problem {
    let error = FieldError::new("Idempotency-Key", "invalid", what);
    Problem::with_errors(ProblemKind::IdempotencyKeyInvalid, vec![error])
}

fn parse_key(text: &str) -> Option<String> {
    let key = match text.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        // These would mean something in a structured field, so a bare key does not have them.
        None if text.contains(['"', '\\', ',', ';']) => return None,
        None => text.to_owned(),
    };
    let visible = key.bytes().all(|b| b.is_ascii_graphic());
    (visible && (1..=KEY_BYTES_MAX).contains(&key.len())).then_some(key)
}

/// The rest of a string behind its opening quote (RFC 8941, section 4.2.5).
fn unquote(text: &str) -> Option<String> {
    let mut key = String::with_capacity(text.len());
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => key.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => key.push(other),
        }
    }
    chars.as_str().is_empty().then_some(key)
}

/// What the key was used for: the request in a canonical form, so that neither the order of keys nor
/// white space makes another request of it.
pub(super) fn claim(
    scope: &str,
    key: String,
    method: &Method,
    path: &str,
    body: &Json,
) -> IdempotencyClaim {
    let canonical = format!("{method} {path}\n{}", body.canonical());
    let mut fingerprint = String::with_capacity(64);
    for byte in Sha256::digest(canonical.as_bytes()) {
        let _ = write!(fingerprint, "{byte:02x}");
    }
    IdempotencyClaim { scope: scope.to_owned(), key, fingerprint }
}

/// The keys whose requests this host has in hand.
///
/// Two hosts do not see each other's; there the store's unique key decides, and the second waits
/// for the first one's commit.
#[derive(Clone, Default)]
pub(super) struct InFlight {
    keys: Arc<Mutex<HashSet<(String, String)>>>,
}

/// Holds a key until the request is answered, fails, or its caller goes away.
pub(super) struct InFlightGuard {
    in_flight: InFlight,
    key: (String, String),
}

impl InFlight {
    pub(super) fn begin(&self, claim: &IdempotencyClaim) -> Result<InFlightGuard, Problem> {
        let key = (claim.scope.clone(), claim.key.clone());
        if self.lock().insert(key.clone()) {
            return Ok(InFlightGuard { in_flight: self.clone(), key });
        }
        let detail = "The first request with this key is not answered yet. Send it again.";
        Err(Problem::new(ProblemKind::IdempotencyKeyInFlight, detail)
            .retry_after(IN_FLIGHT_RETRY_S))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<(String, String)>> {
        // A set of texts is whole whatever panicked while it was held.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.in_flight.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_quoted_string_or_a_bare_token() {
        let long = "k".repeat(255);
        for (text, key) in [
            (r#""8e03978e""#, "8e03978e"),
            ("8e03978e", "8e03978e"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (r#""a,b;c""#, "a,b;c"),
            (long.as_str(), long.as_str()),
        ] {
            assert_eq!(parse_key(text).as_deref(), Some(key), "{text}");
        }
        let longer = "k".repeat(256);
        for bad in [
            "",
            r#""""#,
            r#"""#,
            r#""a"#,
            r#""a"b"#,
            r#"a"b"#,
            r#""a\n""#,
            r#""a\"#,
            "a, b",
            "a;b=c",
            "a b",
            r#""a b""#,
            r#""a";p=1"#,
            "kä",
            &longer,
        ] {
            assert_eq!(parse_key(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_held_until_its_guard_is_gone() {
        let in_flight = InFlight::default();
        let claim = |scope: &str| IdempotencyClaim {
            scope: scope.into(),
            key: "k".into(),
            fingerprint: String::new(),
        };
        let held = in_flight.begin(&claim("a")).ok();
        assert!(held.is_some());
        assert!(in_flight.begin(&claim("a")).is_err());
        assert!(in_flight.begin(&claim("b")).is_ok(), "another caller's key is another key");
        drop(held);
        assert!(in_flight.begin(&claim("a")).is_ok());
    }
}
