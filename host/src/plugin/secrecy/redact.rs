//! Texts that people read, without the values of secrets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};

use super::VALUE_BYTES_MIN;
use super::encodings::encodings;

/// Values of one name that are remembered: a renewed one may still be in a guest's hands.
const VALUES_PER_NAME: usize = 3;

/// Knows the values that left the host's hands: those that a guest may have seen, or a target.
#[derive(Default)]
pub(in crate::plugin) struct Redactor {
    any: AtomicBool,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// By name, the youngest last.
    values: BTreeMap<String, Vec<String>>,
    patterns: Option<Arc<Patterns>>,
}

/// All spellings of all known values.
pub(in crate::plugin) struct Patterns {
    pub(super) automaton: AhoCorasick,
    pub(super) spellings: Vec<String>,
    pub(super) longest: usize,
    /// For each spelling, what is written instead.
    marks: Vec<String>,
}

impl Patterns {
    fn new(values: &BTreeMap<String, Vec<String>>) -> Option<Arc<Self>> {
        let (mut spellings, mut marks) = (Vec::new(), Vec::new());
        for (name, values) in values {
            for spelling in values.iter().flat_map(|value| encodings(value)) {
                spellings.push(spelling);
                marks.push(format!("[secret {name}]"));
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // Hexadecimal digits have two cases, and so has whoever shouts.
            .ascii_case_insensitive(true)
            .build(&spellings)
            .ok()?;
        let longest = spellings.iter().map(String::len).max().unwrap_or(0);
        Some(Arc::new(Self { automaton, spellings, longest, marks }))
    }
}

impl Redactor {
    /// From now on this value is in no text.
    pub(in crate::plugin) fn learn(&self, name: &str, value: &str) {
        if value.len() < VALUE_BYTES_MIN {
            return;
        }
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.values.get(name).is_some_and(|values| values.iter().any(|it| it == value)) {
                return;
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let values = known.values.entry(name.to_owned()).or_default();
        if values.len() == VALUES_PER_NAME {
            values.remove(0);
        }
        values.push(value.to_owned());
        known.patterns = Patterns::new(&known.values);
        self.any.store(known.patterns.is_some(), Ordering::Release);
    }

    pub(in crate::plugin) fn patterns(&self) -> Option<Arc<Patterns>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.known.read().unwrap_or_else(PoisonError::into_inner).patterns.clone()
    }

    /// The text, with a mark in place of each value.
    pub(in crate::plugin) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.patterns() {
            Some(patterns) if patterns.automaton.is_match(text) => {
                Cow::Owned(patterns.automaton.replace_all(text, &patterns.marks))
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// The mark of a value that is in the text.
    pub(in crate::plugin) fn found_in(&self, text: &str) -> Option<String> {
        let patterns = self.patterns()?;
        let found = patterns.automaton.find(text)?;
        patterns.marks.get(found.pattern().as_usize()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_redacted_however_it_is_written() {
        let redactor = Redactor::default();
        assert_eq!(redactor.text("hunter2hunter2"), "hunter2hunter2", "nothing is known yet");
        redactor.learn("KEY", "hunter2/hunter2");
        for text in [
            "hunter2/hunter2",
            "HUNTER2/hunter2",
            "hunter2%2Fhunter2",
            "hunter2%2fhunter2",
            "hunter2\\/hunter2",
            "68756e746572322f68756e74657232",
            "68756E746572322F68756E74657232",
            "aHVudGVyMi9odW50ZXIy",
        ] {
            assert_eq!(redactor.text(&format!("<{text}>")), "<[secret KEY]>", "{text}");
        }
        assert_eq!(redactor.text("hunter2 and hunter2"), "hunter2 and hunter2");
        assert_eq!(redactor.found_in("x hunter2/hunter2").as_deref(), Some("[secret KEY]"));
        assert_eq!(redactor.found_in("x"), None);
    }

    #[test]
    fn of_a_renewed_secret_the_last_values_are_known() {
        let redactor = Redactor::default();
        for value in ["value-one", "value-two", "value-three", "value-four"] {
            redactor.learn("KEY", value);
            redactor.learn("KEY", value);
        }
        assert_eq!(redactor.text("value-one"), "value-one");
        for value in ["value-two", "value-three", "value-four"] {
            assert_eq!(redactor.text(value), "[secret KEY]");
        }
        redactor.learn("SHORT", "value");
        assert_eq!(redactor.text("value-five"), "value-five");
    }
}
