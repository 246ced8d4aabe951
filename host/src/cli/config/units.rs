//! Durations and sizes as people write them: `10s`, `32MiB`. The one place that reads them.

use std::time::Duration;

/// Reads `500ms`, `10s`, `5m`, `2h`, `1d`: a whole number and a unit.
///
/// # Errors
/// A text that says what is taken.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    parse_with_unit(text, &units).map(Duration::from_millis).ok_or_else(|| {
        format!(
            "{text:?} is no duration: write a whole number and ms, s, m, h or d, such as \"10s\""
        )
    })
}

/// Reads `100B`, `64KiB`, `32MiB`, `1GiB`: a whole number and a unit.
///
/// # Errors
/// A text that says what is taken.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    parse_with_unit(text, &units).ok_or_else(|| {
        format!(
            "{text:?} is no size: write a whole number and B, KiB, MiB or GiB, such as \"32MiB\""
        )
    })
}

fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_whole_number_and_a_unit() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1d", 86_400_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "10", "s", "1.5s", "-1s", "10 s", "10S", "1w", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_have_a_whole_number_and_a_binary_unit() {
        for (text, bytes) in [("100B", 100), ("64KiB", 65_536), ("32MiB", 33_554_432)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "10", "10KB", "1.5MiB", "MiB", "10 MiB", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad:?}");
        }
    }
}
