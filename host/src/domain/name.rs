//! The names that route: event types, aggregates, networks.

use std::fmt;
use std::str::FromStr;

use super::id::WithdrawalId;

/// The aggregate type of withdrawals.
pub const WITHDRAWAL: &str = "WITHDRAWAL";

/// The event types that Tidegate itself writes. Teams add their own.
pub mod event_types {
    pub const WITHDRAWAL_REQUESTED: &str = "WITHDRAWAL_REQUESTED";
    pub const PARTNER_SYNC_REQUESTED: &str = "PARTNER_SYNC_REQUESTED";
    pub const BLOCKCHAIN_BROADCAST_REQUESTED: &str = "BLOCKCHAIN_BROADCAST_REQUESTED";
    pub const WITHDRAWAL_BROADCASTED: &str = "WITHDRAWAL_BROADCASTED";
    pub const WITHDRAWAL_CONFIRMED: &str = "WITHDRAWAL_CONFIRMED";
    pub const WITHDRAWAL_FAILED: &str = "WITHDRAWAL_FAILED";
    pub const WITHDRAWAL_REOPENED: &str = "WITHDRAWAL_REOPENED";

    pub const ALL: [&str; 7] = [
        WITHDRAWAL_REQUESTED,
        PARTNER_SYNC_REQUESTED,
        BLOCKCHAIN_BROADCAST_REQUESTED,
        WITHDRAWAL_BROADCASTED,
        WITHDRAWAL_CONFIRMED,
        WITHDRAWAL_FAILED,
        WITHDRAWAL_REOPENED,
    ];
}

/// A name that does not have the form that its kind asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {given:?} is not valid: {rule}")]
pub struct NameError {
    kind: &'static str,
    given: String,
    rule: &'static str,
}

impl NameError {
    fn new(kind: &'static str, given: &str, rule: &'static str) -> Self {
        // What a stranger sent may be long; the message quotes enough to recognise it.
        let given = given.chars().take(80).collect();
        Self { kind, given, rule }
    }
}

/// The routing key of an event: 1 to 64 of `A`–`Z`, `0`–`9` and `_`, beginning with a letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventType(String);

impl EventType {
    pub const BYTES_MAX: usize = 64;

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventType {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_upper_snake(text, Self::BYTES_MAX) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new(
                "event type",
                text,
                "it needs 1 to 64 of A-Z, 0-9 and _, and begins with a letter",
            ))
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_upper_snake(text: &str, bytes_max: usize) -> bool {
    let mut bytes = text.bytes();
    text.len() <= bytes_max
        && bytes.next().is_some_and(|b| b.is_ascii_uppercase())
        && bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// What an event is about: a type such as `WITHDRAWAL`, and the identity of one of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Aggregate {
    kind: String,
    id: String,
}

impl Aggregate {
    pub const ID_BYTES_MAX: usize = 128;

    /// # Errors
    /// The type is not 1 to 64 of `A`–`Z`, `0`–`9`, `_`; or the id is empty, longer than 128
    /// bytes, or has control characters.
    pub fn new(kind: &str, id: &str) -> Result<Self, NameError> {
        if !is_upper_snake(kind, EventType::BYTES_MAX) {
            return Err(NameError::new(
                "aggregate type",
                kind,
                "it needs 1 to 64 of A-Z, 0-9 and _, and begins with a letter",
            ));
        }
        if id.is_empty() || id.len() > Self::ID_BYTES_MAX || id.chars().any(char::is_control) {
            return Err(NameError::new(
                "aggregate id",
                id,
                "it needs 1 to 128 bytes and no control characters",
            ));
        }
        Ok(Self { kind: kind.to_owned(), id: id.to_owned() })
    }

    #[must_use]
    pub fn withdrawal(id: WithdrawalId) -> Self {
        Self { kind: WITHDRAWAL.to_owned(), id: id.to_string() }
    }

    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The withdrawal that this is, if it is one.
    #[must_use]
    pub fn as_withdrawal(&self) -> Option<WithdrawalId> {
        (self.kind == WITHDRAWAL).then(|| self.id.parse().ok()).flatten()
    }
}

/// A network's name as CAIP-2 has it: `namespace:reference`, for example `eip155:1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(String);

impl Network {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the colon: the chain family.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.0.split_once(':').map_or("", |(namespace, _)| namespace)
    }

    /// The part behind the colon: which chain of the family.
    #[must_use]
    pub fn reference(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, reference)| reference)
    }
}

impl FromStr for Network {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let valid = text.split_once(':').is_some_and(|(namespace, reference)| {
            is_caip_namespace(namespace) && is_caip_reference(reference)
        });
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new("network", text, "it needs the form of CAIP-2, such as eip155:1"))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_caip_namespace(text: &str) -> bool {
    (3..=8).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_caip_reference(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// One network, or all of a family: `eip155:1` or `eip155:*`. Nothing else is a pattern, so a
/// pattern never matches more than it seems to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkPattern(String);

impl NetworkPattern {
    #[must_use]
    pub fn matches(&self, network: &Network) -> bool {
        match self.0.strip_suffix(":*") {
            Some(namespace) => network.namespace() == namespace,
            None => network.as_str() == self.0,
        }
    }

    /// Whether some network is matched by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self.0.strip_suffix(":*"), other.0.strip_suffix(":*")) {
            (Some(a), Some(b)) => a == b,
            (Some(a), None) => other.0.split(':').next() == Some(a),
            (None, Some(b)) => self.0.split(':').next() == Some(b),
            (None, None) => self.0 == other.0,
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let family = text.strip_suffix(":*").is_some_and(is_caip_namespace);
        if family || text.parse::<Network>().is_ok() {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError::new(
                "network pattern",
                text,
                "it needs one network such as eip155:1, or a family such as eip155:*",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_are_upper_snake_and_bounded() {
        for good in ["A", "WITHDRAWAL_REQUESTED", "X9_", &"A".repeat(64)] {
            assert!(good.parse::<EventType>().is_ok(), "{good}");
        }
        for bad in ["", "a", "9A", "_A", "A B", "Ä", "A-B", &"A".repeat(65), "A\n"] {
            assert!(bad.parse::<EventType>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn networks_have_the_form_of_caip_2() {
        for good in ["eip155:1", "bip122:000000000019d6689c085ae165831e93", "cosmos:cosmoshub-3"] {
            assert!(good.parse::<Network>().is_ok(), "{good}");
        }
        for bad in ["", "eip155", "eip155:", ":1", "EIP155:1", "eip155:*", "eip155:1:2", "ab:1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_matches_one_network_or_one_whole_family() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let pattern = |text: &str| text.parse::<NetworkPattern>().unwrap();
        assert!(pattern("eip155:*").matches(&network("eip155:1")));
        assert!(!pattern("eip155:*").matches(&network("eip1559:1")));
        assert!(!pattern("eip155:1").matches(&network("eip155:10")));
        assert!(pattern("eip155:*").overlaps(&pattern("eip155:1")));
        assert!(!pattern("eip155:2").overlaps(&pattern("eip155:1")));
        for bad in ["*", "eip155:1*", "eip155", "*:1"] {
            assert!(bad.parse::<NetworkPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_withdrawal_with_a_uuid_is_one() {
        let id = WithdrawalId::generate();
        assert_eq!(Aggregate::withdrawal(id).as_withdrawal(), Some(id));
        assert_eq!(Aggregate::new("ORDER", &id.to_string()).unwrap().as_withdrawal(), None);
        assert_eq!(Aggregate::new("WITHDRAWAL", "x").unwrap().as_withdrawal(), None);
    }
}
