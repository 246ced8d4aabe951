//! A request, put together step by step. What is wrong with it is said when it is sent.

use std::time::Duration;

use serde::Serialize;

use super::{HttpError, Response, encode, url::Target};
use crate::backend;

/// A request that is being put together.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    timeout: Option<Duration>,
    flaw: Option<String>,
}

/// What goes out: a request without flaws.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    pub(crate) method: String,
    pub(crate) target: Target,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) timeout: Option<Duration>,
}

impl Prepared {
    /// The whole address.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn url(&self) -> String {
        format!("{}{}", self.target.origin(), self.target.path_and_query)
    }

    /// For reasons and logs: without the path, which may hold a key.
    pub(crate) fn call(&self) -> String {
        format!("{} {}", self.method, self.target.origin())
    }
}

/// Asks for what is there.
pub fn get(url: impl Into<String>) -> Request {
    Request::new("GET", url)
}

/// Hands something in.
pub fn post(url: impl Into<String>) -> Request {
    Request::new("POST", url)
}

/// Puts something in its place; the same again changes nothing.
pub fn put(url: impl Into<String>) -> Request {
    Request::new("PUT", url)
}

/// Changes a part of something.
pub fn patch(url: impl Into<String>) -> Request {
    Request::new("PATCH", url)
}

/// Takes something away.
pub fn delete(url: impl Into<String>) -> Request {
    Request::new("DELETE", url)
}

impl Request {
    /// A request of any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            url: url.into(),
            headers: Vec::new(),
            body: None,
            timeout: None,
            flaw: None,
        }
    }

    /// Adds a header. Of the same name there may be several.
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.into(), value.as_ref());
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            self.flaw.get_or_insert_with(|| format!("{name:?} is no name of a header"));
        } else if value.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
            // The value may be a secret, so it is not repeated.
            self.flaw.get_or_insert_with(|| format!("{name} holds a control character"));
        }
        self.headers.push((name, value.to_string()));
        self
    }

    /// Adds `Authorization: Bearer …`, usually with a [`Secret`](crate::secrets::Secret).
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        let value = format!("Bearer {}", token.as_ref());
        self.header("Authorization", value)
    }

    /// Sends a value as JSON.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.body("application/json", bytes),
            Err(error) => {
                self.flaw.get_or_insert_with(|| format!("the body is no JSON: {error}"));
                self
            }
        }
    }

    /// Sends a text that is JSON already, for example [`Event::raw_payload`](crate::Event).
    pub fn json_text(self, text: impl Into<String>) -> Self {
        self.body("application/json", text.into().into_bytes())
    }

    /// Sends pairs as an HTML form would.
    pub fn form(self, pairs: &[(&str, &str)]) -> Self {
        let text: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        self.body("application/x-www-form-urlencoded", text.join("&").into_bytes())
    }

    /// Sends bytes of any kind.
    pub fn body(mut self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        self.body = Some(bytes.into());
        self.header("Content-Type", content_type)
    }

    /// The longest wait for the connection, for the answer's beginning, and between two pieces of
    /// it. The whole call is bounded by the manifest's `limits.timeout` anyway, but a handler that
    /// is stopped by it can give no reason.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it and reads the whole answer. Any status is an answer; redirects are not followed.
    ///
    /// # Errors
    /// [`HttpError`] says whether the target may have seen the request.
    pub fn send(self) -> Result<Response, HttpError> {
        let prepared = self.prepare()?;
        let response = backend::http(&prepared)?;
        // A connection that closes early looks like the end of the answer.
        let promised =
            response.header("content-length").and_then(|it| it.trim().parse::<usize>().ok());
        match promised {
            Some(length) if prepared.method != "HEAD" && response.bytes().len() < length => {
                Err(HttpError::MayHaveBeenSent(format!(
                    "{}: the answer broke off after {} of {length} bytes",
                    prepared.call(),
                    response.bytes().len(),
                )))
            }
            _ => Ok(response),
        }
    }

    fn prepare(mut self) -> Result<Prepared, HttpError> {
        if let Some(flaw) = self.flaw {
            return Err(HttpError::Invalid(flaw));
        }
        let target = Target::parse(&self.url).map_err(HttpError::Invalid)?;
        if let Some(body) = &self.body {
            // Without it the body would go out in chunks, which some targets do not take.
            self.headers.push(("Content-Length".into(), body.len().to_string()));
        }
        Ok(Prepared {
            method: self.method,
            target,
            headers: self.headers,
            body: self.body,
            timeout: self.timeout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeHost, Reply};

    #[test]
    fn a_request_goes_out_as_it_was_put_together() {
        let host = FakeHost::new();
        host.reply(Reply::status(200));
        let response = post("HTTPS://a.example/x?y=1#part")
            .header("X-One", "1")
            .bearer("token")
            .form(&[("a b", "c&d"), ("e", "é")])
            .timeout(Duration::from_millis(250))
            .send();
        assert_eq!(response.map(|it| it.status()), Ok(200));
        let request = &host.requests()[0];
        assert_eq!(
            (request.method.as_str(), request.url.as_str()),
            ("POST", "https://a.example/x?y=1")
        );
        assert_eq!(request.header("x-one"), Some("1"));
        assert_eq!(request.header("authorization"), Some("Bearer token"));
        assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(request.header("content-length"), Some("20"));
        assert_eq!(request.text(), "a%20b=c%26d&e=%C3%A9");
        assert_eq!(request.timeout, Some(Duration::from_millis(250)));
    }

    #[test]
    fn the_last_body_wins_and_has_one_type() {
        let host = FakeHost::new();
        host.reply(Reply::status(200));
        let _ = put("http://a.example").json(&1).json_text("{}").send();
        let request = &host.requests()[0];
        assert_eq!(request.text(), "{}");
        let types = request.headers.iter().filter(|(name, _)| name == "Content-Type").count();
        assert_eq!(types, 1);
    }

    #[test]
    fn what_is_malformed_is_not_sent() {
        let host = FakeHost::new();
        for request in [
            get("a.example"),
            get("http://a.example").header("two words", "1"),
            get("http://a.example").header("", "1"),
            get("http://a.example").header("X", "line\r\nInjected: 1"),
            get("http://a.example").bearer("se\ncret"),
        ] {
            let error = request.send().unwrap_err();
            assert!(matches!(error, HttpError::Invalid(_)), "{error}");
            assert!(!error.to_string().contains("cret"), "a value may be a secret");
        }
        assert!(host.requests().is_empty());
    }

    #[test]
    fn an_answer_that_is_shorter_than_promised_broke_off() {
        let host = FakeHost::new();
        host.reply(Reply::text(200, "abc").header("Content-Length", "4"))
            .reply(Reply::text(200, "abc").header("Content-Length", "3"))
            .reply(Reply::status(200).header("Content-Length", "4"));
        assert!(matches!(get("http://a.example").send(), Err(HttpError::MayHaveBeenSent(_))));
        assert!(get("http://a.example").send().is_ok());
        assert!(Request::new("HEAD", "http://a.example").send().is_ok());
    }
}
