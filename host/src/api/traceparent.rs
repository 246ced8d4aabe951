//! The trace that a request belongs to (W3C Trace Context), carried on by its events.

use std::fmt::Write;

use http::HeaderMap;

/// The caller's trace if it sent a valid one, else a new one.
pub(super) fn from_headers(headers: &HeaderMap) -> String {
    let mut values = headers.get_all("traceparent").iter();
    match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
        (Some(text), None) => parse(text.trim()).unwrap_or_else(generate),
        _ => generate(),
    }
}

/// A later version is read as version 00, as the specification asks.
fn parse(text: &str) -> Option<String> {
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let complete = parts.next().is_none() || version != "00";
    let form =
        hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    let named = trace.bytes().any(|b| b != b'0') && span.bytes().any(|b| b != b'0');
    (complete && form && named).then(|| format!("00-{trace}-{span}-{flags}"))
}

fn generate() -> String {
    // A trace names; it guards nothing, so quick random numbers do. All zero means "none".
    let trace = fastrand::u128(1..);
    let span = fastrand::u64(1..);
    let mut text = String::with_capacity(55);
    let _ = write!(text, "00-{trace:032x}-{span:016x}-01");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_trace_is_carried_on() {
        assert_eq!(parse(VALID).as_deref(), Some(VALID));
        let later = VALID.replacen("00", "cc", 1) + "-what-the-future-will-be-like";
        assert_eq!(parse(&later).as_deref(), Some(VALID));
    }

    #[test]
    fn anything_else_gets_a_new_trace() {
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let upper = VALID.to_uppercase();
        for bad in ["", "00", zeros, &upper, &VALID[1..], &format!("{VALID}-x"), "ff-1-1-1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        let generated = generate();
        assert_eq!(parse(&generated).as_deref(), Some(generated.as_str()));
    }
}
