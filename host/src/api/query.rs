//! A query's parameters, read strictly: each is known, appears once, and all that are wrong are
//! named at once.

use std::str::FromStr;

use chrono::DateTime;
use http::Uri;
use url::form_urlencoded;

use crate::domain::Timestamp;

use super::problem::{FieldError, Problem, ProblemKind};

pub(super) struct Query {
    parameters: Vec<(String, String)>,
    errors: Vec<FieldError>,
    known: Vec<&'static str>,
}

impl Query {
    pub(super) fn new(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let parameters = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { parameters, errors: Vec::new(), known: Vec::new() }
    }

    /// The text of a parameter. Every known parameter is asked for, even if there are errors.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let mut values = self.parameters.iter().filter(|(key, _)| key == name);
        let value = values.next()?.1.clone();
        if values.next().is_some() {
            self.error(name, "duplicate", "is given more than once");
            return None;
        }
        if value.is_empty() || value.len() > 256 {
            self.error(name, "invalid", "needs 1 to 256 bytes; leave it out to not filter by it");
            return None;
        }
        // What the decoder puts where bytes were no UTF-8; the database takes no NUL either.
        if value.contains(char::REPLACEMENT_CHARACTER) || value.chars().any(char::is_control) {
            self.error(name, "invalid", "needs UTF-8 without control characters");
            return None;
        }
        Some(value)
    }

    /// A parameter of a type of the domain. `rule` says what is taken.
    pub(super) fn parsed<T: FromStr>(&mut self, name: &'static str, rule: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.error(name, "invalid", rule);
        }
        parsed
    }

    pub(super) fn time(&mut self, name: &'static str) -> Option<Timestamp> {
        let text = self.text(name)?;
        let parsed = DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc());
        if parsed.is_none() {
            let rule = "needs a time of RFC 3339, such as 2030-01-31T12:00:00Z (write + as %2B)";
            self.error(name, "invalid", rule);
        }
        parsed
    }

    pub(super) fn error(&mut self, name: &'static str, code: &'static str, detail: &str) {
        self.errors.push(FieldError::new(name, code, detail));
    }

    /// Names everything that was wrong, unknown parameters included.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for (key, _) in &self.parameters {
            if !self.known.contains(&key.as_str()) {
                let detail = format!("is unknown; the parameters are: {}", self.known.join(", "));
                self.errors.push(FieldError::new(key, "unknown", detail));
            }
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::with_errors(ProblemKind::InvalidQuery, self.errors))
    }
}
