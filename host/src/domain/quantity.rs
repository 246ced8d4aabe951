//! Durations and sizes as people write them: `500ms`, `10s`, `32MiB`.

use std::time::Duration;

/// A text that is no duration or no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no {kind}: write a whole number and one of {units}, such as {example:?}")]
pub struct QuantityError {
    kind: &'static str,
    given: String,
    units: &'static str,
    example: &'static str,
}

/// `ms`, `s`, `m`, `h` or `d` behind a whole number.
///
/// # Errors
/// Another form, or more than fits.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    scaled(text, &units).map(Duration::from_millis).ok_or_else(|| QuantityError {
        kind: "duration",
        given: text.to_owned(),
        units: "ms, s, m, h, d",
        example: "10s",
    })
}

/// `B`, `KiB` or `MiB` behind a whole number.
///
/// # Errors
/// Another form, or more than fits.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    scaled(text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("B", 1)]).ok_or_else(
        || QuantityError {
            kind: "size",
            given: text.to_owned(),
            units: "B, KiB, MiB, GiB",
            example: "32MiB",
        },
    )
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_a_whole_number_and_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(parse_duration("2d"), Ok(Duration::from_secs(172_800)));
        assert_eq!(parse_size("32MiB"), Ok(32 << 20));
        assert_eq!(parse_size("7B"), Ok(7));
        for bad in ["", "10", "s", "1.5s", "-1s", "10 s", "10S", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "32", "MiB", "32MB", "18446744073709551615KiB"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }
}
