//! The target's answer, read to its end.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use serde::de::DeserializeOwned;

use super::BodyError;
use crate::{clock, json};

/// The target's answer, read to its end. Of whatever status: it is for the handler to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    pub(crate) fn new(status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        Self { status, headers, body }
    }

    /// For example 200.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// True for 200 to 299.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All headers, in the order received.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The body as it came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// The beginning of the text, at most `chars_max` characters: for reasons, which should keep
    /// the target's own words and stay readable.
    #[must_use]
    pub fn excerpt(&self, chars_max: usize) -> String {
        let text = self.text();
        let text = text.trim();
        match text.char_indices().nth(chars_max) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_string(),
        }
    }

    /// The body as a type of yours.
    ///
    /// # Errors
    /// Names the place that does not fit. With `?` in a handler it becomes an
    /// [`unknown`](crate::unknown), for the target did act.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, BodyError> {
        json::parse(&self.body).map_err(|source| BodyError { status: self.status, source })
    }

    /// How long the target asks to wait: `Retry-After`, in seconds or as a date.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tidegate_plugin::{http, testing::{FakeHost, Reply}};
    /// # FakeHost::new().reply(Reply::status(429).header("Retry-After", "30"));
    /// let response = http::get("https://api.partner.example/").send()?;
    /// assert_eq!(response.retry_after(), Some(Duration::from_secs(30)));
    /// # Ok::<(), http::HttpError>(())
    /// ```
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after").and_then(|value| wait_of(value.trim(), clock::now()))
    }
}

/// A date that has passed means "now".
fn wait_of(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(wait_of(value, now).map(|it| it.as_secs()), seconds, "{value}");
        }
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        let response = Response::new(400, Vec::new(), " größer ".as_bytes().to_vec());
        assert_eq!(response.excerpt(3), "grö…");
        assert_eq!(response.excerpt(6), "größer");
    }
}
