//! How a value travels: out of SQLite, through Postgres's COPY, and what both are compared by.

use std::fmt::Write;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, ValueRef};

/// A column of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// What the two databases have for one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, JSON, UUIDs: the same letters in both.
    Text,
    Integer,
    /// A decimal of any size; text in SQLite. Zeros at its end do not matter.
    Decimal,
    /// 0 and 1 in SQLite.
    Flag,
    /// Microseconds since 1970 in SQLite.
    Time,
    Bytes,
}

impl Kind {
    /// By Postgres's name of the type that a column, or its domain, has.
    pub(super) fn of(data_type: &str) -> Option<Self> {
        Some(match data_type {
            "text" | "character varying" | "json" | "uuid" => Self::Text,
            "smallint" | "integer" | "bigint" => Self::Integer,
            "numeric" => Self::Decimal,
            "boolean" => Self::Flag,
            "timestamp with time zone" => Self::Time,
            "bytea" => Self::Bytes,
            _ => return None,
        })
    }

    /// How Postgres reads a column back as the text that it is compared by.
    pub(super) fn read_back(self, column: &str) -> String {
        match self {
            Self::Text | Self::Integer | Self::Decimal | Self::Flag => {
                format!("\"{column}\"::text")
            }
            Self::Time => format!("(extract(epoch FROM \"{column}\") * 1000000)::bigint::text"),
            Self::Bytes => format!("encode(\"{column}\", 'hex')"),
        }
    }

    /// The text that two values are compared by.
    pub(super) fn canonical(self, text: String) -> Result<String, String> {
        match self {
            Self::Decimal => bigdecimal::BigDecimal::from_str(&text)
                .map(|decimal| decimal.normalized().to_plain_string())
                .map_err(|error| format!("{text:?} is no decimal: {error}")),
            Self::Text | Self::Integer | Self::Flag | Self::Time | Self::Bytes => Ok(text),
        }
    }

    /// The value of a row of SQLite, as Postgres would read it back.
    pub(super) fn of_sqlite(self, row: &SqliteRow, at: usize) -> Result<Option<String>, String> {
        let shown = |error: sqlx::Error| error.to_string();
        if row.try_get_raw(at).map_err(shown)?.is_null() {
            return Ok(None);
        }
        let value = match self {
            Self::Text | Self::Decimal => row.try_get(at).map_err(shown)?,
            Self::Integer | Self::Time => row.try_get::<i64, _>(at).map_err(shown)?.to_string(),
            Self::Flag => match row.try_get::<i64, _>(at).map_err(shown)? {
                0 => "false".to_owned(),
                1 => "true".to_owned(),
                other => return Err(format!("{other} is neither 0 nor 1")),
            },
            Self::Bytes => hex(&row.try_get::<Vec<u8>, _>(at).map_err(shown)?),
        };
        Ok(Some(value))
    }

    /// Appends a value as COPY takes it.
    pub(super) fn copy(self, value: &str, into: &mut String) -> Result<(), String> {
        match self {
            Self::Text => {
                for c in value.chars() {
                    match c {
                        '\\' => into.push_str("\\\\"),
                        '\t' => into.push_str("\\t"),
                        '\n' => into.push_str("\\n"),
                        '\r' => into.push_str("\\r"),
                        other => into.push(other),
                    }
                }
            }
            Self::Integer | Self::Decimal | Self::Flag => into.push_str(value),
            Self::Time => {
                let micros = value.parse().map_err(|_| format!("{value:?} is no time"))?;
                let at = chrono::DateTime::from_timestamp_micros(micros)
                    .ok_or_else(|| format!("{value} is beyond every time"))?;
                let _ = write!(into, "{}", at.format("%Y-%m-%d %H:%M:%S%.6f+00"));
            }
            Self::Bytes => {
                into.push_str("\\\\x");
                into.push_str(value);
            }
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Of rows in any order: how many, and the sum of their SHA-256, cut to 128 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest {
    pub(super) rows: u64,
    sum: u128,
}

impl Digest {
    pub(super) fn add(&mut self, row: &[Option<String>]) {
        let mut hash = Sha256::new();
        for value in row {
            match value {
                None => hash.update([0]),
                Some(text) => {
                    hash.update([1]);
                    hash.update((text.len() as u64).to_be_bytes());
                    hash.update(text);
                }
            }
        }
        let mut first = [0; 16];
        first.copy_from_slice(&hash.finalize()[..16]);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(first));
    }

    pub(super) fn checksum(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(kind: Kind, value: &str) -> String {
        let mut text = String::new();
        kind.copy(value, &mut text).unwrap();
        text
    }

    #[test]
    fn what_copy_would_take_for_its_own_is_escaped() {
        assert_eq!(copied(Kind::Text, "a\tb\nc\\N\rü"), "a\\tb\\nc\\\\N\\rü");
        assert_eq!(copied(Kind::Bytes, "00ff"), "\\\\x00ff");
        assert_eq!(copied(Kind::Time, "1700000000000001"), "2023-11-14 22:13:20.000001+00");
        assert_eq!(copied(Kind::Time, "-1"), "1969-12-31 23:59:59.999999+00");
    }

    #[test]
    fn decimals_are_compared_by_value() {
        let canonical = |text: &str| Kind::Decimal.canonical(text.into()).unwrap();
        assert_eq!(canonical("1.50"), canonical("1.5"));
        assert_eq!(canonical("100"), canonical("100.0"));
        assert_ne!(canonical("1.5"), canonical("1.51"));
        assert!(Kind::Decimal.canonical("x".into()).is_err());
    }

    #[test]
    fn a_checksum_sees_every_change_but_the_order() {
        let sum = |rows: &[&[Option<&str>]]| {
            let mut digest = Digest::default();
            for row in rows {
                let row: Vec<_> = row.iter().map(|value| value.map(str::to_owned)).collect();
                digest.add(&row);
            }
            digest
        };
        let (one, two): (&[_], &[_]) = (&[Some("a"), None], &[Some(""), Some("b")]);
        assert_eq!(sum(&[one, two]), sum(&[two, one]));
        assert_ne!(sum(&[one, two]), sum(&[one, one]));
        assert_ne!(sum(&[&[Some("ab"), Some("")]]), sum(&[&[Some("a"), Some("b")]]));
        assert_ne!(sum(&[&[None]]), sum(&[&[Some("")]]));
    }
}
