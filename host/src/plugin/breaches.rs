//! What a guest did that the engine does not let it do, in our words.
//!
//! The engine ends such a call with an error that is only a text. The texts are those of the one
//! version of it that the lock file names; the hostile suite holds each of them to this table.

use std::str::Utf8Error;

use super::limits::{Limits, size};

/// Handles that an instance may hold: the guest's own, beside the host's. Each costs the host a few
/// bytes.
pub(super) const HANDLES_MAX: usize = 4_096;

/// A part of the engine's text, and what the guest did. The first that fits counts.
const BREACHES: [(&str, Breach); 17] = [
    ("handle limit exceeded", Breach::Handles),
    ("too much data is being copied", Breach::HandedOver),
    ("instance count too high", Breach::Instances),
    ("size overflow", Breach::HandedOver),
    ("byte length too large", Breach::HandedOver),
    (
        "more zeroes than `check_write` allows",
        Breach::Did("wrote more than the stream had room for"),
    ),
    ("write exceeded", Breach::Did("wrote more than the stream had room for")),
    ("utf-8", Breach::Did("handed over a text that is not UTF-8")),
    ("out of bounds", Breach::Did("handed over a place outside of its memory")),
    ("beyond end of memory", Breach::Did("handed over a place outside of its memory")),
    ("aligned", Breach::Did("handed over a place that nothing of its kind can begin at")),
    ("discriminant", Breach::Did("handed over a value of no known case")),
    ("handle index", Breach::Did("used a handle that it does not hold")),
    ("not a resource", Breach::Did("used a handle for what it is not")),
    ("own resource", Breach::Did("used a handle for what it is not")),
    ("active lends", Breach::Did("lent a handle too often")),
    ("borrow handles still remain", Breach::Did("kept a handle that it was only lent")),
];

#[derive(Debug, Clone, Copy)]
enum Breach {
    Handles,
    HandedOver,
    Instances,
    /// It broke a rule that has no number.
    Did(&'static str),
}

/// Why a call was stopped, if it is one of these.
pub(super) fn reason(error: &wasmtime::Error, limits: &Limits) -> Option<String> {
    let cause = error.root_cause();
    if cause.is::<Utf8Error>() {
        return Some(said(Breach::Did("handed over a text that is not UTF-8"), limits));
    }
    let text = cause.to_string();
    let found = BREACHES.iter().find(|(part, _)| text.contains(part));
    found.map(|(_, breach)| said(*breach, limits))
}

fn said(breach: Breach, limits: &Limits) -> String {
    match breach {
        Breach::Handles => format!("limit of {HANDLES_MAX} handles a call reached"),
        Breach::HandedOver => {
            let max = size(limits.hand_over_bytes() as u64);
            format!("limit {max} of what is handed over at once reached")
        }
        Breach::Instances => format!("limit of {} core instances reached", limits.instances),
        Breach::Did(what) => format!("the handler broke the contract: it {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        reason(&wasmtime::Error::msg(text.to_owned()), &Limits::default())
    }

    #[test]
    fn limits_are_told_with_their_numbers() {
        let handles = of("cannot allocate another handle: store handle limit exceeded");
        assert_eq!(handles.unwrap(), "limit of 4096 handles a call reached");
        let copied = of("too much data is being copied between the host and the guest: fuel …");
        assert_eq!(copied.unwrap(), "limit 2112KiB of what is handed over at once reached");
    }

    #[test]
    fn what_nobody_foresaw_keeps_the_engines_text() {
        assert_eq!(of("the moon is full"), None);
    }
}
