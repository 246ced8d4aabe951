//! How often a route may be attempted, and by which part of the payload: the arithmetic of rate
//! limits, without a clock.
//!
//! The generic cell rate algorithm: of a key nothing is kept but the time from which one more
//! attempt is free. It costs one number a key, and no timer fills anything up.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// So many attempts in a period, spread evenly; after a quiet time a few may come at once.
///
/// In any stretch of time `w` at most `burst + w / interval` attempts begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period: Period,
    burst: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
}

impl Period {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    const fn micros(self) -> i64 {
        match self {
            Self::Second => 1_000_000,
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is no rate: write a whole number from 1 on, a slash, and one of s, m, h, such as \
     \"50/s\"; at most 10000 a second"
)]
pub struct RateError {
    given: String,
}

impl FromStr for Rate {
    type Err = RateError;

    /// With the default burst: what a tenth of a second brings, and at least 1.
    fn from_str(text: &str) -> Result<Self, RateError> {
        let error = || RateError { given: text.chars().take(80).collect() };
        let (count, unit) = text.split_once('/').ok_or_else(error)?;
        let period = Period::ALL.into_iter().find(|period| period.unit() == unit);
        let (Some(period), true) = (period, count.bytes().all(|b| b.is_ascii_digit())) else {
            return Err(error());
        };
        let count: u32 = count.parse().map_err(|_| error())?;
        if count == 0 || i64::from(count) > Self::PER_SECOND_MAX * period.micros() / 1_000_000 {
            return Err(error());
        }
        let rate = Self { count, period, burst: 1 };
        let burst = u32::try_from(Self::TICK_MICROS / rate.interval_micros()).unwrap_or(1).max(1);
        Ok(Self { burst, ..rate })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period.unit())
    }
}

/// What was granted of what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    pub count: u32,
    /// From when on one more is free: what is kept of the key.
    pub next_at: i64,
}

impl Rate {
    /// Beyond this a limit would round noticeably, and cost more than it keeps away.
    const PER_SECOND_MAX: i64 = 10_000;
    /// The default burst is what so long brings: hosts then look ten times a second, not more.
    const TICK_MICROS: i64 = 100_000;
    /// A burst must not bring more than a day's attempts at once: idle keys are forgotten after a
    /// day, and a key that is not remembered has its whole burst.
    pub const BURST_SPAN_MAX_MICROS: i64 = 86_400_000_000;

    /// The same rate with a burst of the operator's. None if it is 0, or more than a day brings.
    #[must_use]
    pub fn with_burst(self, burst: u32) -> Option<Self> {
        let span = self.interval_micros().saturating_mul(i64::from(burst));
        (burst > 0 && span <= Self::BURST_SPAN_MAX_MICROS.max(self.interval_micros()))
            .then_some(Self { burst, ..self })
    }

    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// Microseconds from one attempt to the next. Rounded up: never more than was allowed.
    #[must_use]
    pub const fn interval_micros(&self) -> i64 {
        let count = self.count as i64;
        (self.period.micros() + count - 1) / count
    }

    /// Grants up to `wanted` attempts that begin now. `next_at` is what was kept of the key, none
    /// of a key that is not known; all times are microseconds by one clock.
    ///
    /// A `next_at` that cannot be, because that clock was set back or the rate was lower before, is
    /// corrected: no key waits for longer than one interval for nothing.
    #[must_use]
    pub fn grant(&self, next_at: Option<i64>, now: i64, wanted: u32) -> Granted {
        let interval = self.interval_micros();
        let full = now.saturating_sub(interval.saturating_mul(i64::from(self.burst) - 1));
        let next_at = next_at.unwrap_or(full).clamp(full, now.saturating_add(interval));
        if next_at > now {
            return Granted { count: 0, next_at };
        }
        let free = (now - next_at) / interval + 1;
        let count = wanted.min(u32::try_from(free).unwrap_or(u32::MAX));
        Granted { count, next_at: next_at + interval * i64::from(count) }
    }
}

/// Where in a payload the key of a rate limit lies: names joined by dots, such as `partner.id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateKey(String);

/// A text that is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given:?} is no rate_key: write the name of a field of the payload, or names joined by dots"
)]
pub struct RateKeyError {
    given: String,
}

impl FromStr for RateKey {
    type Err = RateKeyError;

    fn from_str(text: &str) -> Result<Self, RateKeyError> {
        let fits = text.len() <= Self::PATH_BYTES_MAX
            && text.split('.').all(|name| !name.is_empty() && !name.chars().any(char::is_control));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(RateKeyError { given: text.chars().take(80).collect() })
        }
    }
}

impl fmt::Display for RateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RateKey {
    const PATH_BYTES_MAX: usize = 200;
    /// A longer value is known by its digest: what anybody may write must fit into an index.
    const VALUE_BYTES_MAX: usize = 128;

    /// The value in this payload: a text as it is, anything else as JSON. Payloads that lack it
    /// share one key, the empty one.
    #[must_use]
    pub fn value(&self, payload: &str) -> String {
        let Ok(payload) = serde_json::from_str::<Value>(payload) else { return String::new() };
        let found = self.0.split('.').try_fold(&payload, |value, name| value.get(name));
        let value = match found {
            None | Some(Value::Null) => return String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        if value.len() <= Self::VALUE_BYTES_MAX && !value.contains('\0') {
            return value;
        }
        let digest = Sha256::digest(value.as_bytes());
        let hexadecimal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hexadecimal}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn a_rate_is_a_number_and_a_period() {
        for (text, interval, burst) in [
            ("50/s", 20_000, 5),
            ("3/s", 333_334, 1),
            ("1/h", 3_600_000_000, 1),
            ("600/m", 100_000, 1),
            ("10000/s", 100, 1_000),
        ] {
            let rate = rate(text);
            assert_eq!((rate.interval_micros(), rate.burst()), (interval, burst), "{text}");
            assert_eq!(rate.to_string(), text);
        }
        for bad in
            ["", "50", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "50/d", "50 /s", "10001/s", "50/S"]
        {
            assert!(bad.parse::<Rate>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_burst_is_at_least_one_and_at_most_a_days() {
        assert_eq!(rate("50/s").with_burst(0), None);
        assert_eq!(rate("1/h").with_burst(24).map(|rate| rate.burst()), Some(24));
        assert_eq!(rate("1/h").with_burst(25), None);
    }

    #[test]
    fn what_is_granted_at_once_is_the_burst_and_then_one_an_interval() {
        let rate = rate("10/s").with_burst(3).unwrap();
        let now = 1_000_000_000;
        let first = rate.grant(None, now, 10);
        assert_eq!(first, Granted { count: 3, next_at: now + 100_000 });
        assert_eq!(rate.grant(Some(first.next_at), now + 99_999, 1).count, 0);
        let next = rate.grant(Some(first.next_at), now + 100_000, 10);
        assert_eq!(next, Granted { count: 1, next_at: now + 200_000 });
        assert_eq!(rate.grant(Some(next.next_at), now + 60_000_000, 10).count, 3);
        assert_eq!(rate.grant(Some(now), now, 0), Granted { count: 0, next_at: now });
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nothing_for_longer_than_an_interval() {
        let rate = rate("10/s");
        let hour = 3_600_000_000;
        let back = rate.grant(Some(2 * hour), hour, 1);
        assert_eq!(back, Granted { count: 0, next_at: hour + 100_000 });
        assert_eq!(rate.grant(Some(back.next_at), hour + 100_000, 1).count, 1);
    }

    #[test]
    fn a_key_is_a_value_of_the_payload() {
        let key = |path: &str, payload: &str| path.parse::<RateKey>().unwrap().value(payload);
        assert_eq!(key("partner_id", r#"{"partner_id": "p7"}"#), "p7");
        assert_eq!(key("partner.id", r#"{"partner": {"id": 7}}"#), "7");
        assert_eq!(key("a", r#"{"a": [1, true]}"#), "[1,true]");
        for without in ["{}", "[]", "no json", r#"{"a": null}"#, r#"{"a.b": 1}"#] {
            assert_eq!(key("a.b", without), "", "{without}");
        }
        let long = |end: char| format!(r#"{{"a": "{}{end}"}}"#, "x".repeat(1_000));
        assert_eq!(key("a", &long('1')).len(), 71);
        assert_ne!(key("a", &long('1')), key("a", &long('2')));
        assert!(key("a", r#"{"a": "p\u0000"}"#).starts_with("sha256:"));
        for bad in ["", ".", "a.", ".a", "a..b", "a\nb"] {
            assert!(bad.parse::<RateKey>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// The promise of a rate, over any history of claims: no stretch of time has more than the
        /// burst and what the stretch brings.
        #[test]
        fn no_stretch_of_time_has_more_than_the_burst_and_its_share(
            count in 1_u32..2_000,
            burst in 1_u32..50,
            steps in prop::collection::vec((0_i64..400_000, 0_u32..40), 1..120),
        ) {
            let rate = rate(&format!("{count}/s")).with_burst(burst).unwrap();
            let (mut now, mut next_at, mut begun) = (1_000_000_000_i64, None, Vec::new());
            for (pause, wanted) in steps {
                now += pause;
                let granted = rate.grant(next_at, now, wanted);
                prop_assert!(granted.count <= wanted);
                // Nothing is refused that was free.
                prop_assert!(granted.count == wanted || granted.next_at > now);
                next_at = Some(granted.next_at);
                begun.extend(std::iter::repeat_n(now, granted.count as usize));
            }
            for (i, from) in begun.iter().enumerate() {
                for (j, to) in begun.iter().enumerate().skip(i) {
                    let allowed = i64::from(burst) + (to - from) / rate.interval_micros();
                    prop_assert!((j - i + 1) as i64 <= allowed, "{} in {} µs", j - i + 1, to - from);
                }
            }
        }

        /// Who asks whenever it is told to gets the whole rate, whatever the clock did before.
        #[test]
        fn whoever_comes_at_the_time_it_was_told_is_served(
            count in 1_u32..10_000, burst in 1_u32..50, kept: i32, wanted in 1_u32..100,
        ) {
            let rate = rate(&format!("{count}/m")).with_burst(burst).unwrap();
            let now = 1_000_000_000;
            let first = rate.grant(Some(now + i64::from(kept)), now, wanted);
            prop_assert!(first.next_at <= now + rate.interval_micros());
            let later = first.next_at.max(now);
            prop_assert!(rate.grant(Some(first.next_at), later, 1).count == 1);
        }
    }
}
