//! Puts values in the place of placeholders, at the very end: after the checks and the record.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::encodings::{json_inner, percent_encode};
use super::placeholder::{PLACEHOLDER_BYTES, PLACEHOLDER_PREFIX, begins};

/// How a value is written where it is put, so that it is one value there and nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plugin) enum Form {
    Plain,
    /// Inside a JSON string.
    Json,
    /// In a query, or a form.
    Url,
    Xml,
}

impl Form {
    /// Of a body of this content type; none if it is no text, which is left alone.
    pub(in crate::plugin) fn of_body(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "application/json" | "application/x-ndjson" | "application/graphql" => Some(Self::Json),
            "application/x-www-form-urlencoded" => Some(Self::Url),
            "application/xml" | "text/xml" => Some(Self::Xml),
            _ if kind.ends_with("+json") => Some(Self::Json),
            _ if kind.ends_with("+xml") => Some(Self::Xml),
            _ if kind.starts_with("text/") => Some(Self::Plain),
            _ => None,
        }
    }

    fn write(self, value: &str) -> String {
        match self {
            Self::Plain => value.to_owned(),
            Self::Json => json_inner(value),
            Self::Url => percent_encode(value),
            Self::Xml => value
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
                .replace('\'', "&apos;"),
        }
    }
}

/// What a plugin's placeholders become in one request.
#[derive(Debug, Clone, Default)]
pub(in crate::plugin) struct Filler {
    /// For each placeholder the value, or why it must not be there.
    pub(in crate::plugin) entries: Vec<(String, Result<String, String>)>,
}

impl Filler {
    fn find(&self, placeholder: &[u8]) -> Option<&Result<String, String>> {
        let entry = self.entries.iter().find(|(known, _)| known.as_bytes() == placeholder);
        entry.map(|(_, value)| value)
    }

    /// The text with its placeholders filled in; none if it holds no placeholder.
    ///
    /// # Errors
    /// Why a placeholder in it must not be there. Never says anything of a value.
    pub(in crate::plugin) fn text(&self, text: &str, form: Form) -> Result<Option<String>, String> {
        let Some(first) = text.find(PLACEHOLDER_PREFIX) else { return Ok(None) };
        let mut filled = text[..first].to_owned();
        let mut rest = &text[first..];
        loop {
            if begins(rest.as_bytes()) {
                let placeholder = &rest[..PLACEHOLDER_BYTES];
                match self.find(placeholder.as_bytes()) {
                    Some(Ok(value)) => filled += &form.write(value),
                    Some(Err(reason)) => return Err(reason.clone()),
                    None => return Err(UNKNOWN.to_owned()),
                }
                rest = &rest[PLACEHOLDER_BYTES..];
            } else {
                filled += PLACEHOLDER_PREFIX;
                rest = &rest[PLACEHOLDER_PREFIX.len()..];
            }
            match rest.find(PLACEHOLDER_PREFIX) {
                Some(next) => {
                    filled += &rest[..next];
                    rest = &rest[next..];
                }
                None => return Ok(Some(filled + rest)),
            }
        }
    }

    /// The same for a header's value, where a name and a password may be in base64 together.
    ///
    /// # Errors
    /// See [`Filler::text`].
    pub(in crate::plugin) fn header(&self, value: &str) -> Result<Option<String>, String> {
        if let Some(encoded) = value.strip_prefix("Basic ")
            && let Ok(decoded) = STANDARD.decode(encoded.trim())
            && let Ok(decoded) = String::from_utf8(decoded)
        {
            let filled = self.text(&decoded, Form::Plain)?;
            return Ok(filled.map(|filled| format!("Basic {}", STANDARD.encode(filled))));
        }
        self.text(value, Form::Plain)
    }
}

const UNKNOWN: &str = "a placeholder of an earlier start of the host, or of another plugin: ask the \
                       host for the secret again";

/// Goes along a body and fills in its placeholders, wherever it is cut.
pub(in crate::plugin) struct BodyFiller {
    filler: Filler,
    form: Form,
    held: Vec<u8>,
}

impl BodyFiller {
    pub(in crate::plugin) fn new(filler: Filler, form: Form) -> Self {
        Self { filler, form, held: Vec::new() }
    }

    /// The next bytes; less than came in, if a placeholder may go on in what comes.
    ///
    /// # Errors
    /// Why a placeholder must not be there. Of another's placeholder nothing is known, so it is text.
    pub(in crate::plugin) fn push(&mut self, bytes: &[u8], last: bool) -> Result<Bytes, String> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let mut filled = Vec::with_capacity(all.len());
        let mut rest = all.as_slice();
        let prefix = PLACEHOLDER_PREFIX.as_bytes();
        while let Some(at) = rest.windows(prefix.len()).position(|window| window == prefix) {
            filled.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            if rest.len() < PLACEHOLDER_BYTES && !last {
                self.held = rest.to_vec();
                return Ok(filled.into());
            }
            let known = rest.get(..PLACEHOLDER_BYTES).and_then(|it| self.filler.find(it));
            let length = match known {
                Some(Ok(value)) => {
                    filled.extend_from_slice(self.form.write(value).as_bytes());
                    PLACEHOLDER_BYTES
                }
                Some(Err(reason)) => return Err(reason.clone()),
                None => {
                    filled.extend_from_slice(prefix);
                    prefix.len()
                }
            };
            rest = &rest[length..];
        }
        let longest = rest.len().min(prefix.len() - 1);
        let begun = (1..=longest).rev().find(|length| rest.ends_with(&prefix[..*length]));
        let keep = if last { 0 } else { begun.unwrap_or(0) };
        filled.extend_from_slice(&rest[..rest.len() - keep]);
        self.held = rest[rest.len() - keep..].to_vec();
        Ok(filled.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholder(digit: char) -> String {
        format!("{PLACEHOLDER_PREFIX}{}", digit.to_string().repeat(32))
    }

    fn filler() -> Filler {
        Filler {
            entries: vec![
                (placeholder('a'), Ok("it's \"<&>\" 1".into())),
                (placeholder('b'), Err("not to this host".into())),
            ],
        }
    }

    #[test]
    fn a_value_is_one_value_where_it_is_put() {
        let text = format!("<{}>", placeholder('a'));
        for (form, filled) in [
            (Form::Plain, "<it's \"<&>\" 1>"),
            (Form::Json, "<it's \\\"<&>\\\" 1>"),
            (Form::Url, "<it%27s%20%22%3C%26%3E%22%201>"),
            (Form::Xml, "<it&apos;s &quot;&lt;&amp;&gt;&quot; 1>"),
        ] {
            assert_eq!(filler().text(&text, form), Ok(Some(filled.to_owned())));
            let mut body = BodyFiller::new(filler(), form);
            assert_eq!(body.push(text.as_bytes(), true).unwrap(), filled);
        }
    }

    #[test]
    fn a_text_without_a_placeholder_is_left_alone() {
        assert_eq!(filler().text("nothing", Form::Plain), Ok(None));
        let odd = format!("{PLACEHOLDER_PREFIX}no digits");
        assert_eq!(filler().text(&odd, Form::Plain), Ok(Some(odd.clone())));
    }

    #[test]
    fn a_placeholder_that_must_not_be_there_says_why() {
        let text = format!("x{}", placeholder('b'));
        assert_eq!(filler().text(&text, Form::Plain), Err("not to this host".into()));
        let unknown = filler().text(&placeholder('c'), Form::Plain);
        assert!(unknown.unwrap_err().contains("earlier start"));
        let mut body = BodyFiller::new(filler(), Form::Plain);
        assert_eq!(body.push(text.as_bytes(), true), Err("not to this host".into()));
    }

    #[test]
    fn basic_is_opened_and_closed_again() {
        let value = format!("Basic {}", STANDARD.encode(format!("user:{}", placeholder('a'))));
        let filled = format!("Basic {}", STANDARD.encode("user:it's \"<&>\" 1"));
        assert_eq!(filler().header(&value), Ok(Some(filled)));
        assert_eq!(filler().header("Basic dXNlcjpwYXNz"), Ok(None));
        let bearer = format!("Bearer {}", placeholder('a'));
        assert_eq!(filler().header(&bearer), Ok(Some("Bearer it's \"<&>\" 1".into())));
    }

    #[test]
    fn a_body_is_filled_wherever_it_is_cut() {
        let (a, c) = (placeholder('a'), placeholder('c'));
        let text = format!("tidegate-tidegate-secret-x{a}{c}{a}tidegate-secret-");
        let filled = text.replace(&a, "it's \"<&>\" 1");
        for first in 0..=text.len() {
            for second in (first..=text.len()).step_by(7) {
                let mut body = BodyFiller::new(filler(), Form::Plain);
                let mut out = Vec::new();
                for (chunk, last) in [
                    (&text[..first], false),
                    (&text[first..second], false),
                    (&text[second..], true),
                ] {
                    out.extend(body.push(chunk.as_bytes(), last).unwrap());
                }
                assert_eq!(String::from_utf8(out).unwrap(), filled, "{first} {second}");
            }
        }
    }

    #[test]
    fn only_texts_are_filled() {
        for (content_type, form) in [
            ("application/json; charset=utf-8", Some(Form::Json)),
            ("application/vnd.api+json", Some(Form::Json)),
            ("Text/Plain", Some(Form::Plain)),
            ("application/x-www-form-urlencoded", Some(Form::Url)),
            ("application/soap+xml", Some(Form::Xml)),
            ("application/octet-stream", None),
            ("image/png", None),
            ("", None),
        ] {
            assert_eq!(Form::of_body(content_type), form, "{content_type}");
        }
    }
}
