//! What a guest gets in place of a secret.

use sha2::{Digest, Sha256};

pub(in crate::plugin) const PLACEHOLDER_PREFIX: &str = "tidegate-secret-";
/// Of its hexadecimal end.
const DIGITS: usize = 32;
pub(super) const PLACEHOLDER_BYTES: usize = PLACEHOLDER_PREFIX.len() + DIGITS;

/// Random for each start, so that no placeholder can be known beforehand; the same for every release
/// of a plugin until the host stops, so that what a checkpoint keeps outlives a swap.
pub(in crate::plugin) struct Placeholders([u8; 32]);

impl Placeholders {
    /// # Errors
    /// The machine gives no random numbers.
    pub(in crate::plugin) fn random() -> Result<Self, String> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| format!("no randomness: {error}"))?;
        Ok(Self(seed))
    }

    pub(in crate::plugin) fn of(&self, plugin: &str, name: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        // A plugin's name has no such byte, so no two pairs are one text.
        for part in [plugin.as_bytes(), b"\0", name.as_bytes()] {
            hasher.update(part);
        }
        let mut placeholder = PLACEHOLDER_PREFIX.to_owned();
        for byte in &hasher.finalize()[..DIGITS / 2] {
            placeholder += &format!("{byte:02x}");
        }
        placeholder
    }
}

/// Whether a placeholder, of whichever start, begins this text.
pub(super) fn begins(text: &[u8]) -> bool {
    text.len() >= PLACEHOLDER_BYTES
        && text.starts_with(PLACEHOLDER_PREFIX.as_bytes())
        && text[PLACEHOLDER_PREFIX.len()..PLACEHOLDER_BYTES]
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_of_one_start_one_plugin_and_one_name() {
        let start = Placeholders::random().unwrap();
        let placeholder = start.of("a", "K");
        assert!(begins(placeholder.as_bytes()), "{placeholder}");
        assert_eq!(placeholder.len(), PLACEHOLDER_BYTES);
        assert_eq!(placeholder, start.of("a", "K"), "a swap changes nothing");
        assert_ne!(placeholder, start.of("a", "L"));
        assert_ne!(placeholder, start.of("b", "K"));
        assert_ne!(placeholder, Placeholders::random().unwrap().of("a", "K"));
    }
}
