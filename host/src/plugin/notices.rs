//! What plugins want an operator to hear of: lines of the form `notice REASON: …`, counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::bindings::imported::log::Level;

/// How a line begins that is a notice.
const PREFIX: &str = "notice ";

const REASON_BYTES_MAX: usize = 32;

/// Reasons of one plugin. A plugin chooses its words, and a metric must not grow with them.
const REASONS_MAX: usize = 32;

/// What is counted where a reason is malformed, or one too many.
const OTHER: &str = "other";

/// Kept for as long as the process lives, so that a counter never falls when a release is replaced.
#[derive(Debug, Default)]
pub(super) struct Notices(Mutex<BTreeMap<String, BTreeMap<String, u64>>>);

impl Notices {
    /// Counts the line, if it is a notice.
    pub(super) fn hear(&self, plugin: &str, level: Level, line: &str) {
        let Some(reason) = reason(level, line) else { return };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_plugin = counts.entry(plugin.to_owned()).or_default();
        let known = of_plugin.len() < REASONS_MAX || of_plugin.contains_key(reason);
        *of_plugin.entry(if known { reason } else { OTHER }.to_owned()).or_default() += 1;
    }

    pub(super) fn text(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::from("# TYPE tidegate_plugin_notices_total counter\n");
        for (plugin, reasons) in counts.iter() {
            for (reason, count) in reasons {
                // Neither has a character to escape. Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "tidegate_plugin_notices_total{{plugin=\"{plugin}\",reason=\"{reason}\"}} {count}"
                );
            }
        }
        text
    }
}

fn reason(level: Level, line: &str) -> Option<&str> {
    match level {
        Level::Warn | Level::Error => {}
        Level::Debug | Level::Info => return None,
    }
    let (reason, _) = line.strip_prefix(PREFIX)?.split_once(": ")?;
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits =
        !reason.is_empty() && reason.len() <= REASON_BYTES_MAX && reason.chars().all(is_word);
    Some(if fits { reason } else { OTHER })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_counted_by_plugin_and_reason_and_other_lines_are_not() {
        let notices = Notices::default();
        for (plugin, level, line) in [
            ("a", Level::Warn, "notice unknown-answer: the moon is full"),
            ("a", Level::Error, "notice unknown-answer: again"),
            ("b", Level::Warn, "notice fee-cap: x"),
            ("b", Level::Warn, "notice \"} 1: x"),
            ("b", Level::Info, "notice fee-cap: only information"),
            ("b", Level::Warn, "a notice: of another kind"),
            ("b", Level::Warn, "notice without a colon"),
        ] {
            notices.hear(plugin, level, line);
        }
        let text = notices.text();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "tidegate_plugin_notices_total{plugin=\"a\",reason=\"unknown-answer\"} 2",
                "tidegate_plugin_notices_total{plugin=\"b\",reason=\"fee-cap\"} 1",
                "tidegate_plugin_notices_total{plugin=\"b\",reason=\"other\"} 1",
            ]
        );
    }

    #[test]
    fn a_plugin_cannot_fill_the_metrics_with_words() {
        let notices = Notices::default();
        for n in 0..1_000 {
            notices.hear("a", Level::Warn, &format!("notice word-{n}: x"));
        }
        assert_eq!(notices.text().lines().count(), 1 + REASONS_MAX + 1);
        assert!(notices.text().contains("reason=\"other\"} 968"));
    }
}
