//! The partner's records and how a request changes them. No I/O.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Keeps a runaway test from eating the machine.
const RECORDS_MAX: usize = 1_000_000;

/// How many idempotency keys a record shows. A withdrawal needs three.
const KEYS_SHOWN_MAX: usize = 64;

/// What the partner knows of a withdrawal's progress, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PartnerStatus {
    Requested,
    Broadcasted,
    Confirmed,
    Failed,
}

impl PartnerStatus {
    /// A record only moves to a higher rank, so that a late request cannot take it back. Of the
    /// two ends the first one stays.
    const fn rank(self) -> u8 {
        match self {
            Self::Requested => 0,
            Self::Broadcasted => 1,
            Self::Confirmed | Self::Failed => 2,
        }
    }
}

/// One PUT that was taken: what the journal holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Effect {
    pub(super) id: String,
    pub(super) idempotency_key: Option<String>,
    pub(super) status: PartnerStatus,
    /// The whole body, as it came.
    pub(super) body: Map<String, Value>,
    pub(super) at_ms: u64,
}

/// What the partner shows of a withdrawal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartnerRecord {
    pub id: String,
    pub status: PartnerStatus,
    /// The body that brought the record to its status.
    pub withdrawal: Map<String, Value>,
    /// The keys of the requests that were taken, oldest first.
    pub idempotency_keys: Vec<String>,
    /// How many requests were taken. A repeat of a key is not.
    pub effects: u64,
    /// How many of them were late: their status was behind the record's.
    pub late: u64,
    pub created_at_ms: u64,
    pub updated_at_ms: u64,
    /// Requests since the service started, repeats and failures included.
    pub requests: RequestCounts,
}

/// How often a record was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    pub put: u64,
    pub get: u64,
}

/// An answer to a PUT, kept for a repeat of its key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) created: bool,
    pub(super) record: PartnerRecord,
}

/// What a repeated key means.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Repeat {
    Same(Box<Answer>),
    /// The key came with another withdrawal or another body before.
    Another,
}

#[derive(Debug, Default)]
pub(super) struct Records {
    by_id: BTreeMap<String, PartnerRecord>,
    by_key: HashMap<String, (Effect, Answer)>,
    requests: HashMap<String, RequestCounts>,
}

impl Records {
    /// What was answered to this key before, if it came before.
    pub(super) fn repeat_of(&self, effect: &Effect) -> Option<Repeat> {
        let (earlier, answer) = self.by_key.get(effect.idempotency_key.as_ref()?)?;
        let same = earlier.id == effect.id && earlier.body == effect.body;
        Some(if same { Repeat::Same(Box::new(answer.clone())) } else { Repeat::Another })
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_id.len() >= RECORDS_MAX || self.by_key.len() >= 8 * RECORDS_MAX
    }

    pub(super) fn apply(&mut self, effect: Effect) -> Answer {
        let created = !self.by_id.contains_key(&effect.id);
        let record = self.by_id.entry(effect.id.clone()).or_insert_with(|| PartnerRecord {
            id: effect.id.clone(),
            status: effect.status,
            withdrawal: effect.body.clone(),
            idempotency_keys: Vec::new(),
            effects: 0,
            late: 0,
            created_at_ms: effect.at_ms,
            updated_at_ms: effect.at_ms,
            requests: RequestCounts::default(),
        });
        record.effects += 1;
        if effect.status.rank() > record.status.rank() {
            record.status = effect.status;
            record.withdrawal = effect.body.clone();
            record.updated_at_ms = effect.at_ms;
        } else if effect.status != record.status {
            record.late += 1;
        }
        if let Some(key) = &effect.idempotency_key
            && record.idempotency_keys.len() < KEYS_SHOWN_MAX
        {
            record.idempotency_keys.push(key.clone());
        }
        let answer = Answer { created, record: record.clone() };
        if let Some(key) = effect.idempotency_key.clone() {
            self.by_key.insert(key, (effect, answer.clone()));
        }
        answer
    }

    pub(super) fn count_put(&mut self, id: &str) {
        if let Some(counts) = self.counts(id) {
            counts.put += 1;
        }
    }

    pub(super) fn count_get(&mut self, id: &str) {
        if let Some(counts) = self.counts(id) {
            counts.get += 1;
        }
    }

    fn counts(&mut self, id: &str) -> Option<&mut RequestCounts> {
        // Anybody can ask for any id; only so many are remembered.
        if self.requests.len() >= RECORDS_MAX && !self.requests.contains_key(id) {
            return None;
        }
        Some(self.requests.entry(id.to_owned()).or_default())
    }

    pub(super) fn get(&self, id: &str) -> Option<PartnerRecord> {
        self.by_id.get(id).map(|record| self.with_counts(record))
    }

    /// Up to `limit` records with an id greater than `after`.
    pub(super) fn list(&self, after: &str, limit: usize) -> Vec<PartnerRecord> {
        use std::ops::Bound;
        self.by_id
            .range::<str, _>((Bound::Excluded(after), Bound::Unbounded))
            .take(limit)
            .map(|(_, record)| self.with_counts(record))
            .collect()
    }

    fn with_counts(&self, record: &PartnerRecord) -> PartnerRecord {
        let requests = self.requests.get(&record.id).copied().unwrap_or_default();
        PartnerRecord { requests, ..record.clone() }
    }
}
