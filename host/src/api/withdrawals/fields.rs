//! The fields of a withdrawal as they are handed in, and every way in which they can be wrong.

use crate::domain::{Amount, Network, WithdrawalRequest};

use super::super::json::Json;
use super::super::problem::FieldError;

const FIELDS: [&str; 5] = ["user_id", "asset", "network", "amount", "destination_address"];

/// Reads a request into the domain, or names all that is wrong with it.
pub(super) fn read_request(body: &Json) -> Result<WithdrawalRequest, Vec<FieldError>> {
    let Json::Object(entries) = body else {
        let detail = format!("must be an object, and is {}", body.kind());
        return Err(vec![FieldError::new("$", "wrong_type", detail)]);
    };
    let mut fields = Fields { entries, errors: Vec::new() };
    let user_id = fields.text("user_id", |text| {
        let valid =
            (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        check(valid, text, "needs 1 to 128 characters and no control characters")
    });
    let asset = fields.text("asset", |text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let valid = (1..=32).contains(&text.len()) && text.bytes().all(plain);
        check(valid, text, "needs 1 to 32 of A-Z, a-z, 0-9, '.', '_' and '-'")
    });
    let network = fields.text("network", |text| {
        text.parse::<Network>().map_err(|_| "needs the form of CAIP-2, such as eip155:1".to_owned())
    });
    let amount = fields.text("amount", |text| text.parse::<Amount>().map_err(|e| e.to_string()));
    let destination_address = fields.text("destination_address", |text| {
        let valid = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        check(valid, text, "needs 1 to 128 visible ASCII characters")
    });
    fields.unknown();
    match (user_id, asset, network, amount, destination_address) {
        (Some(user_id), Some(asset), Some(network), Some(amount), Some(destination_address))
            if fields.errors.is_empty() =>
        {
            Ok(WithdrawalRequest { user_id, asset, network, amount, destination_address })
        }
        _ => Err(fields.errors),
    }
}

fn check(valid: bool, text: &str, rule: &str) -> Result<String, String> {
    if valid { Ok(text.to_owned()) } else { Err(rule.to_owned()) }
}

struct Fields<'a> {
    entries: &'a [(String, Json)],
    errors: Vec<FieldError>,
}

impl Fields<'_> {
    /// A field that must be there, once, as a string that `read` takes.
    fn text<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let mut values = self.entries.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let (code, detail) = match (values.next(), values.next()) {
            (None, _) => ("required", "is missing".to_owned()),
            (Some(_), Some(_)) => ("duplicate", "is given more than once".to_owned()),
            (Some(Json::Text(text)), None) => match read(text) {
                Ok(value) => return Some(value),
                Err(rule) => ("invalid", rule),
            },
            (Some(Json::Number(_)), None) if name == "amount" => {
                let why = "must be a string such as \"1.5\": a JSON number may lose digits";
                ("wrong_type", why.to_owned())
            }
            (Some(other), None) => {
                ("wrong_type", format!("must be a string, and is {}", other.kind()))
            }
        };
        self.errors.push(FieldError::new(name, code, detail));
        None
    }

    fn unknown(&mut self) {
        for (key, _) in self.entries {
            if !FIELDS.contains(&key.as_str()) {
                let detail = format!("is unknown; the fields are: {}", FIELDS.join(", "));
                self.errors.push(FieldError::new(key, "unknown", detail));
            }
        }
    }
}
