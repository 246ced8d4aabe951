//! `log`: lines for the operator, bounded in number and length.

use super::super::bindings::imported::log::{Host, Level};
use super::super::state::CallState;

impl Host for CallState {
    async fn write(&mut self, level: Level, message: String) {
        self.facts.log(level, &message);
    }
}

/// One line that cannot pretend to be another: control characters are escaped, so no newline,
/// carriage return or terminal sequence of a guest reaches the operator's screen.
pub(crate) fn printable(message: &str, bytes_max: usize) -> String {
    let mut line = String::with_capacity(message.len().min(bytes_max));
    for c in message.chars() {
        if line.len() >= bytes_max {
            line.push('…');
            break;
        }
        if c.is_control() || is_layout(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Characters that end a line or reorder it, and so change what the operator reads.
fn is_layout(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(printable("a\nb\r\x1b[31mc", 100), "a\\nb\\r\\u{1b}[31mc");
        assert_eq!(printable("\u{202e}x\u{2028}y", 100), "\\u{202e}x\\u{2028}y");
        assert_eq!(printable("äöü", 3), "äö…");
        assert_eq!(printable("plain", 100), "plain");
    }
}
