//! What a target answers, without the values that it was sent: one that echoes its request must not
//! hand a secret to the guest.

use std::ops::Range;
use std::sync::Arc;

use super::redact::Patterns;

/// Goes along a stream of bytes and hides values in it, each byte behind a `*`, so that lengths stay.
pub(in crate::plugin) struct Mask {
    patterns: Arc<Patterns>,
    /// What may be the beginning of a value.
    held: Vec<u8>,
}

impl Mask {
    pub(in crate::plugin) fn new(patterns: Arc<Patterns>) -> Self {
        Self { patterns, held: Vec::new() }
    }

    /// The next bytes; less than came in, if a value may go on in what comes.
    pub(in crate::plugin) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let end = hide(&self.patterns, &mut all);
        let from = self.unfinished(&all, end);
        self.held = all.split_off(from);
        all
    }

    /// What was held back at the end.
    pub(in crate::plugin) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// A text of its own, beside the stream.
    pub(in crate::plugin) fn of_whole(&self, bytes: &[u8]) -> Vec<u8> {
        Self::whole(&self.patterns, bytes)
    }

    /// All of it at once.
    pub(in crate::plugin) fn whole(patterns: &Patterns, bytes: &[u8]) -> Vec<u8> {
        let mut all = bytes.to_vec();
        hide(patterns, &mut all);
        all
    }

    /// Where the longest end of the bytes begins that begins a spelling. What was hidden, up to
    /// `done`, is none.
    fn unfinished(&self, bytes: &[u8], done: usize) -> usize {
        let first = bytes.len().saturating_sub(self.patterns.longest.saturating_sub(1)).max(done);
        let begins = |from: &usize| {
            let end = &bytes[*from..];
            self.patterns.spellings.iter().any(|spelling| {
                spelling.len() > end.len()
                    && spelling.as_bytes()[..end.len()].eq_ignore_ascii_case(end)
            })
        };
        (first..bytes.len()).find(begins).unwrap_or(bytes.len())
    }
}

/// Hides all whole values, and tells where the last one ends.
fn hide(patterns: &Patterns, bytes: &mut [u8]) -> usize {
    let found: Vec<Range<usize>> =
        patterns.automaton.find_iter(&*bytes).map(|found| found.range()).collect();
    let end = found.last().map_or(0, |range| range.end);
    for range in found {
        bytes[range].fill(b'*');
    }
    end
}

#[cfg(test)]
mod tests {
    use super::super::redact::Redactor;
    use super::*;

    fn masked(chunks: &[&str]) -> String {
        let redactor = Redactor::default();
        redactor.learn("KEY", "correct horse");
        let mut mask = Mask::new(redactor.patterns().unwrap());
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend(mask.push(chunk.as_bytes()));
        }
        out.extend(mask.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_is_hidden_wherever_the_stream_is_cut() {
        let text = "{\"you sent\": \"correct horse\", \"and\": \"correct%20horse\"}";
        let hidden = "{\"you sent\": \"*************\", \"and\": \"***************\"}";
        assert_eq!(masked(&[text]), hidden);
        for first in 0..text.len() {
            for second in first..text.len() {
                let cut = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(masked(&cut), hidden, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn what_only_begins_like_a_value_comes_through() {
        for text in ["correct", "correct hors", "c", "", "correct correct hors correct"] {
            assert_eq!(masked(&[text]), text);
            let letters: Vec<String> = text.chars().map(String::from).collect();
            assert_eq!(masked(&letters.iter().map(String::as_str).collect::<Vec<_>>()), text);
        }
    }

    #[test]
    fn little_is_held_back() {
        let redactor = Redactor::default();
        redactor.learn("KEY", "correct horse");
        let mut mask = Mask::new(redactor.patterns().unwrap());
        assert_eq!(mask.push(b"data: 1\n\n"), b"data: 1\n\n", "an event of a stream goes on");
        assert_eq!(mask.push(b"data: corr"), b"data: ");
    }
}
