//! What commands print: tables for people, JSON for programs. Never a colour.

use std::io::{ErrorKind, Write};

use comfy_table::{Table, presets};
use serde_json::Value;

use super::error::CliError;

/// Prints a text and a line end.
///
/// # Errors
/// The standard output cannot be written. A reader that had enough (`| head`) is no error.
pub fn print(text: &str) -> Result<(), CliError> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliError::failed(
            format!("nothing can be printed: {error}"),
            "the standard output",
            "look where it is redirected to",
        )),
    }
}

/// A value, indented, for programs and for people who pipe it.
pub(super) fn print_json(value: &Value) -> Result<(), CliError> {
    print(&format!("{value:#}"))
}

/// Columns with a heading each.
pub(super) fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(heads);
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Names and values, one pair on a line.
pub(super) fn pairs(of: &Value, names: &[&str]) -> String {
    let line = |name: &&str| format!("{name:<20} {}", cell(&of[*name]));
    names.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A value in a table. Its text comes from strangers and is printed on a terminal, which obeys
/// control characters, so there are none.
pub(super) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_no_colour_and_no_trailing_space() {
        let text = table(&["ID", "STATUS"], [vec!["1".into(), "DONE".into()]]);
        assert_eq!(text, " ID  STATUS\n 1   DONE");
    }

    #[test]
    fn a_strangers_text_cannot_steer_the_terminal() {
        assert_eq!(cell(&json!("\u{1b}[2Jx\n")), "\u{fffd}[2Jx\u{fffd}");
        assert_eq!(cell(&Value::Null), "-");
        assert_eq!(cell(&json!(12)), "12");
    }
}
