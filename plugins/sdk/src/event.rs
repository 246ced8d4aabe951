//! What a handler is asked to do.

use serde::de::DeserializeOwned;

use crate::json::{self, JsonError};

/// One task for one target, as it lies in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The event's UUID in its hyphenated form.
    pub id: String,
    /// What the event is about, `WITHDRAWAL` for withdrawals.
    pub aggregate_type: String,
    /// Which one it is about: for withdrawals, the withdrawal's UUID.
    pub aggregate_id: String,
    /// The routing key, for example `PARTNER_SYNC_REQUESTED`.
    pub event_type: String,
    /// The payload as JSON text. [`Event::payload`] parses it.
    pub raw_payload: String,
    /// The same on every attempt of this event, and of no other event. Give it to the target.
    pub idempotency_key: String,
    /// 1 on the first attempt.
    pub attempt: u32,
    /// When the event was written, in milliseconds since 1970 UTC.
    pub created_at_ms: u64,
    /// The W3C trace context of what caused the event.
    pub traceparent: Option<String>,
}

impl Event {
    /// The payload as a type of yours.
    ///
    /// ```
    /// # use tidegate_plugin::testing;
    /// #[derive(serde::Deserialize)]
    /// struct Greeting {
    ///     name: String,
    /// }
    ///
    /// let event = testing::event("GREETING_REQUESTED", serde_json::json!({ "name": 7 }));
    /// let error = event.payload::<Greeting>().err().map(|error| error.to_string());
    /// assert_eq!(
    ///     error.as_deref(),
    ///     Some("the payload does not fit: `name`: invalid type: integer `7`, expected a string at line 1 column 9"),
    /// );
    /// ```
    ///
    /// # Errors
    /// [`PayloadError`] names the place in the payload that does not fit. With `?` in a handler it
    /// becomes a [`reject`](crate::reject): the same payload would not fit the next time either.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, PayloadError> {
        json::parse(self.raw_payload.as_bytes()).map_err(PayloadError)
    }

    /// When the event was written, as RFC 3339 has it: `2026-01-31T09:30:00.123Z`.
    ///
    /// ```
    /// # use tidegate_plugin::testing;
    /// let mut event = testing::event("GREETING_REQUESTED", serde_json::json!({}));
    /// event.created_at_ms = 1_709_209_800_007;
    /// assert_eq!(event.created_at(), "2024-02-29T12:30:00.007Z");
    /// ```
    #[must_use]
    pub fn created_at(&self) -> String {
        rfc3339(self.created_at_ms)
    }
}

/// The payload is not what the handler expects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the payload does not fit: {0}")]
pub struct PayloadError(pub JsonError);

/// Days are counted in years that begin in March, so that the leap day is the last of its year.
fn rfc3339(ms: u64) -> String {
    const DAYS_IN_400_YEARS: u64 = 146_097;
    const DAYS_FROM_MARCH_OF_YEAR_0_TO_1970: u64 = 719_468;
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let days = days + DAYS_FROM_MARCH_OF_YEAR_0_TO_1970;
    let era = days / DAYS_IN_400_YEARS;
    let day_of_era = days % DAYS_IN_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) =
        (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_as_rfc_3339() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_767_225_599_001, "2025-12-31T23:59:59.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }
}
