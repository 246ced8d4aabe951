//! Which topics a plugin may publish to.

use std::str::FromStr;

/// A topic, or all topics below a prefix: `tidegate.*` allows `tidegate.a` and `tidegate.a.b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern(String);

impl TopicPattern {
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => topic.len() > prefix.len() && topic.starts_with(prefix),
            None => topic == self.0,
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let topic = text.strip_suffix(".*").unwrap_or(text);
        let token = |token: &str| {
            !token.is_empty()
                && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        if topic.split('.').all(token) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is no topic: write it as \"tidegate.events\" or \"tidegate.*\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_pattern_matches_whole_tokens() {
        let pattern: TopicPattern = "tidegate.*".parse().unwrap();
        assert!(pattern.matches("tidegate.a.b"));
        assert!(!pattern.matches("tidegate."));
        assert!(!pattern.matches("tidegatex.a"));
        for bad in ["*", "", "a..b", "a.*.b", "a*", "a b", "a.>"] {
            assert!(bad.parse::<TopicPattern>().is_err(), "{bad}");
        }
    }
}
