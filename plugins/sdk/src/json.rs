//! JSON in, with errors that name the place: `amount: invalid type: integer, expected a string`.

use serde::de::DeserializeOwned;

/// What is wrong with a JSON text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if path.is_empty() { String::new() } else { format!("`{path}`: ") })]
pub struct JsonError {
    /// The place, for example `items[2].amount`; empty where the whole text is meant.
    pub path: String,
    /// What was expected there.
    pub message: String,
}

pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        JsonError {
            path: if path == "." { String::new() } else { path },
            message: error.inner().to_string(),
        }
    })?;
    reader.end().map_err(|error| JsonError { path: String::new(), message: error.to_string() })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code, reason = "only the errors are looked at")]
    struct Outer {
        items: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code, reason = "only the errors are looked at")]
    struct Inner {
        amount: String,
    }

    #[test]
    fn an_error_names_the_path() {
        let error = parse::<Outer>(br#"{"items":[{"amount":"1"},{"amount":2}]}"#).unwrap_err();
        assert_eq!(error.path, "items[1].amount");
        assert!(error.to_string().starts_with("`items[1].amount`: invalid type"));
    }

    #[test]
    fn a_second_value_after_the_first_is_refused() {
        let error = parse::<u8>(b"1 2").unwrap_err();
        assert_eq!(error.path, "");
        assert!(error.to_string().contains("trailing characters"));
    }
}
