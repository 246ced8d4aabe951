//! Secrets on their way: what a guest holds in their place, where the value is put instead, and how
//! no text that a guest wrote shows it afterwards.

mod encodings;
mod fill;
mod mask;
mod placeholder;
mod redact;

pub(super) use fill::{BodyFiller, Filler, Form};
pub(super) use mask::Mask;
pub(super) use placeholder::{PLACEHOLDER_PREFIX, Placeholders};
pub(super) use redact::Redactor;

/// A value shorter than this is in many an innocent text: to redact it would only garble those.
const VALUE_BYTES_MIN: usize = 8;
