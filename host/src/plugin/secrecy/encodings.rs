//! The spellings of a value that a guest, or a target that answers what it was sent, may use.

use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::VALUE_BYTES_MIN;

/// What a URL keeps as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Of a value of several lines, as a key in PEM: a line that stands for itself.
const LINE_BYTES_MIN: usize = 16;

const NO_PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new().with_encode_padding(false);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, NO_PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PADDING);

/// The value itself first. None if it is too short to be told from other text.
pub(super) fn encodings(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    if value.len() < VALUE_BYTES_MIN {
        return found;
    }
    let mut add = |text: String| {
        if text.len() >= VALUE_BYTES_MIN && !found.contains(&text) {
            found.push(text);
        }
    };
    add(value.to_owned());
    let json = json_inner(value);
    add(json.replace('/', "\\/"));
    // A text in a text, as JSON in a line of a log.
    add(json_inner(&json));
    add(json);
    // As Rust's and Python's debug forms do.
    add(value.escape_debug().to_string());
    add(percent_encode(value));
    add(percent_encode(value).replace("%20", "+"));
    add(utf8_percent_encode(value, NON_ALPHANUMERIC).to_string());
    add(value.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}")));
    add(value.bytes().fold(String::new(), |text, byte| text + &format!("{byte:02x}")));
    for engine in [STANDARD, URL_SAFE] {
        let whole = engine.encode(value);
        add(format!("{whole}{}", &"=="[..(4 - whole.len() % 4) % 4]));
        add(whole);
        for offset in 0..3 {
            add(base64_inside(&engine, value, offset));
        }
    }
    if value.contains('\n') {
        for line in value.lines().filter(|line| line.len() >= LINE_BYTES_MIN) {
            // What every key begins and ends with is no secret.
            if !line.starts_with("-----") {
                add(line.to_owned());
            }
        }
    }
    found
}

/// The inside of a JSON string.
pub(super) fn json_inner(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(&quoted).to_owned()
}

pub(super) fn percent_encode(value: &str) -> String {
    utf8_percent_encode(value, UNRESERVED).to_string()
}

/// The characters that are the value's alone, where it stands behind `offset` bytes of others, as
/// the password of `Basic` stands behind a name.
fn base64_inside(engine: &GeneralPurpose, value: &str, offset: usize) -> String {
    let mut bytes = vec![0; offset];
    bytes.extend_from_slice(value.as_bytes());
    let encoded = engine.encode(&bytes);
    let from = (offset * 8).div_ceil(6);
    let to = bytes.len() * 8 / 6;
    encoded.get(from..to).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_in_every_spelling() {
        let known = encodings("p/ss \"w\u{f6}rd\" 1");
        for spelling in [
            "p/ss \"w\u{f6}rd\" 1",
            "p/ss \\\"w\u{f6}rd\\\" 1",
            "p\\/ss \\\"w\u{f6}rd\\\" 1",
            "p%2Fss%20%22w%C3%B6rd%22%201",
            "p%2Fss+%22w%C3%B6rd%22+1",
            "702f7373202277c3b67264222031",
        ] {
            assert!(known.iter().any(|it| it == spelling), "{spelling} is not in {known:#?}");
        }
        assert!(encodings("1234567").is_empty(), "what is short is in many a text");
    }

    #[test]
    fn base64_is_known_wherever_the_value_stands_in_it() {
        let value = "correct horse battery";
        let known = encodings(value);
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "z", "zz"] {
                for engine in [STANDARD, URL_SAFE] {
                    let text = engine.encode(format!("{before}{value}{after}"));
                    assert!(known.iter().any(|it| text.contains(it.as_str())), "{before} {after}");
                }
            }
        }
    }
}
