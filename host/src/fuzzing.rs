//! Doors for the fuzz targets of `tests/fuzz`, in their build alone: what strangers write, as the
//! host reads it. Each answers what the target compares with its own idea.

use std::collections::BTreeMap;
use std::path::Path;

use http::{HeaderMap, HeaderValue};

/// The text of a configuration, in an empty environment: all errors as a person reads them.
///
/// # Errors
/// It does not hold.
pub fn config(text: &str) -> Result<(), String> {
    // Nothing lies there, so that no file is read.
    let folder = Path::new("/nonexistent");
    let read = crate::cli::config::Config::read("f".into(), text.into(), folder, &BTreeMap::new());
    read.map(drop).map_err(|errors| errors.to_string())
}

/// What a guest gives back as the detail of a receipt.
///
/// # Errors
/// It is refused.
pub fn receipt_detail(text: &str) -> Result<(), String> {
    crate::plugin::check_json("the detail", text, 64 << 10)
}

/// The key that these values of the header `Idempotency-Key` mean.
#[must_use]
pub fn idempotency_key(values: &[&[u8]]) -> Option<String> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("idempotency-key", HeaderValue::from_bytes(value).ok()?);
    }
    crate::api::parsed_key(&headers)
}
