//! The checks of the auditor: what must hold in every store, and how to find what breaks it.
//!
//! A statement is written once for both databases. What differs stands in braces:
//!
//! - `{from}` and `{to}` bound a stretch: keys above the one, up to the other;
//! - `{now}`, `{overdue}`, `{lease_max}` and `{kept_since}` are points in time;
//! - `{flow}` and `{ordered}` are rows of a VALUES list.
//!
//! Each answers the row's id and what is wrong with it, both as text.

mod events;
mod payments;
mod records;
mod withdrawals;

use std::time::Duration;

use super::auditing::AuditRequest;
use super::writes::micros;
use crate::domain::WithdrawalStatus;

pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) sentence: &'static str,
    pub(super) needs: Needs,
    sql: Sql,
}

/// What a check must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    Flow,
    Order,
    Hosts,
}

enum Sql {
    Both(&'static str),
    Each { postgres: &'static str, sqlite: &'static str },
}

impl Check {
    pub(super) fn sql(&self, dialect: Dialect) -> &'static str {
        match (&self.sql, dialect) {
            (Sql::Both(sql), _)
            | (Sql::Each { postgres: sql, .. }, Dialect::Postgres)
            | (Sql::Each { sqlite: sql, .. }, Dialect::Sqlite { .. }) => sql,
        }
    }
}

/// What a check goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Withdrawals,
    Events,
    History,
    /// Tables that are looked at as a whole, each check its own.
    Wholes,
}

impl Subject {
    pub(super) const ALL: [Self; 4] =
        [Self::Withdrawals, Self::Events, Self::History, Self::Wholes];

    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Withdrawals => "withdrawals",
            Self::Events => "outbox_events",
            Self::History => "outbox_attempts",
            Self::Wholes => "the rest",
        }
    }

    /// The key whose order the table is read in.
    pub(super) fn key(self) -> Option<Key> {
        match self {
            Self::Withdrawals | Self::Events => Some(Key::Uuid),
            Self::History => Some(Key::Number),
            Self::Wholes => None,
        }
    }

    /// A key below every row's.
    pub(super) fn before_first(self, dialect: Dialect) -> &'static str {
        match (self.key(), dialect) {
            (Some(Key::Number), _) => "0",
            (Some(Key::Uuid) | None, Dialect::Postgres) => "00000000-0000-0000-0000-000000000000",
            (Some(Key::Uuid) | None, Dialect::Sqlite { .. }) => "",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Uuid,
    Number,
}

impl Key {
    const fn bounds(self) -> (&'static str, &'static str) {
        match self {
            Self::Uuid => ("{from}", "{to}"),
            Self::Number => ("CAST($1 AS bigint)", "CAST($2 AS bigint)"),
        }
    }
}

/// The checks of a subject.
pub(super) fn of(subject: Subject) -> Vec<&'static Check> {
    let lists: &[&'static [Check]] = match subject {
        Subject::Withdrawals => &[withdrawals::CHECKS, payments::CHECKS],
        Subject::Events => &[events::CHECKS],
        Subject::History => &[records::HISTORY],
        Subject::Wholes => &[records::WHOLES],
    };
    lists.iter().copied().flatten().collect()
}

/// Where a check stands in the report.
pub(super) fn position(name: &str) -> usize {
    let mut all = Subject::ALL.into_iter().flat_map(of);
    all.position(|check| check.name == name).unwrap_or(usize::MAX)
}

/// The table that a check over a whole looks at: the first word of its name.
pub(super) fn table_of(name: &str) -> &'static str {
    match name.split('-').next() {
        Some("key") => "idempotency_keys",
        Some("nonce") => "withdrawal_nonces",
        Some("transaction") => "signed_transactions",
        Some("checkpoint") => "checkpoints",
        Some("release") => "plugin_releases",
        _ => "outbox_events",
    }
}

/// Finds the last key of the next stretch, and counts its rows.
pub(super) fn end_of_stretch(subject: Subject, key: Key, rows: u32) -> String {
    let (from, _) = key.bounds();
    let table = subject.table();
    format!(
        "SELECT CAST(p.id AS text), CAST(count(*) OVER () AS text) FROM (SELECT id FROM {table} \
         WHERE id > {from} AND $2 = '' ORDER BY id LIMIT {rows}) AS p ORDER BY p.id DESC LIMIT 1"
    )
}

/// How a database writes what the statements leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Postgres,
    /// Its clock is read once, in microseconds since 1970.
    Sqlite {
        now: i64,
    },
}

/// The spans that points in time are worked out from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) lease_overdue: Duration,
    pub(super) lease_max: Duration,
    pub(super) keep_finished: Option<Duration>,
}

impl Dialect {
    /// The statement, as the database takes it.
    pub(super) fn render(self, sql: &str, times: &Times, request: &AuditRequest) -> String {
        let key = match self {
            Self::Postgres => ["CAST($1 AS uuid)", "CAST($2 AS uuid)"],
            Self::Sqlite { .. } => ["$1", "$2"],
        };
        // Kept for ever: nothing was ever deleted.
        let kept_since = match times.keep_finished {
            Some(keep) => self.at(-micros(keep)),
            None => self.at(-micros(Duration::MAX)),
        };
        sql.replace("{from}", key[0])
            .replace("{to}", key[1])
            .replace("{now}", &self.at(0))
            .replace("{overdue}", &self.at(-micros(times.lease_overdue)))
            .replace("{lease_max}", &self.at(micros(times.lease_max)))
            .replace("{kept_since}", &kept_since)
            .replace("{flow}", &flow_rows(request))
            .replace("{ordered}", &ordered_rows(request))
    }

    /// A point in time, so many microseconds from now.
    pub(super) fn at(self, micros: i64) -> String {
        match self {
            Self::Postgres => format!("(now() + {micros} * interval '1 microsecond')"),
            Self::Sqlite { now } => now.saturating_add(micros).to_string(),
        }
    }
}

/// `VALUES` rows. Both texts come from closed alphabets, so they need no quoting.
fn rows<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let rows: Vec<_> = pairs.map(|(one, two)| format!("('{one}', '{two}')")).collect();
    // A VALUES list has at least one row; this one names nothing.
    if rows.is_empty() { "('', '')".to_owned() } else { rows.join(", ") }
}

fn flow_rows(request: &AuditRequest) -> String {
    rows(request.flow.iter().flat_map(|flow| {
        WithdrawalStatus::ALL.into_iter().flat_map(|status| {
            flow.event_types(status).iter().map(move |of| (status.as_str(), of.as_str()))
        })
    }))
}

fn ordered_rows(request: &AuditRequest) -> String {
    rows(request.ordered.iter().flatten().flat_map(|ordered| {
        ordered.among.iter().map(|among| (ordered.event_type.as_str(), among.as_str()))
    }))
}
