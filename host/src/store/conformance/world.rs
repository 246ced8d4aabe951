//! A store to test, with a back door to its database, and what tests put into it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor as _, PgPool, Row as _, SqlitePool};

use super::cluster;
use crate::domain::{
    Decision, EventId, EventState, EventType, Flow, HostId, LeaseToken, OutboxEvent, Receipt,
    Timestamp, Withdrawal, WithdrawalId, WithdrawalRequest,
};
use crate::store::{
    AcceptWithdrawal, Accepted, Answer, AttemptRecord, Claim, IdempotencyClaim, LeaseRef, Settled,
    Settlement, Store, StoreOptions, StoreUrl, open,
};

pub(super) const BROADCAST: &str = "BLOCKCHAIN_BROADCAST_REQUESTED";
pub(super) const SYNC: &str = "PARTNER_SYNC_REQUESTED";
pub(super) const MINUTE: Duration = Duration::from_secs(60);

pub(super) struct World {
    pub(super) store: Arc<dyn Store>,
    pub(super) url: StoreUrl,
    pub(super) db: Db,
    _folder: Option<tempfile::TempDir>,
}

/// The database itself, for what no trait offers.
pub(super) enum Db {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Stored times that only Postgres has.
const TIMES_ON_POSTGRES: &[(&str, &[&str])] =
    &[("outbox_events", &["done_at"]), ("outbox_claims", &["leased_until"])];

/// Every stored time.
const TIMES: &[(&str, &[&str])] = &[
    (
        "outbox_events",
        &[
            "next_retry_at",
            "skipped_at",
            "locked_until",
            "available_at",
            "valid_until",
            "created_at",
            "updated_at",
        ],
    ),
    ("signed_transactions", &["signed_at"]),
    ("idempotency_keys", &["created_at"]),
    ("rate_buckets", &["next_at"]),
    ("rate_waiting", &["due_at"]),
    ("hosts", &["started_at", "seen_at"]),
    ("plugin_releases", &["created_at", "state_at", "live_at"]),
    ("component_artifacts", &["stored_at"]),
    ("approved_manifests", &["live_at", "approved_at"]),
    ("breakers", &["open_until", "probe_until", "changed_at"]),
    ("withdrawal_approvals", &["approved_at", "expires_at"]),
    ("policy_answers", &["answered_at"]),
    (
        "withdrawals",
        &["requested_at", "broadcasted_at", "confirmed_at", "created_at", "updated_at"],
    ),
];

impl World {
    pub(super) async fn sqlite() -> Self {
        Self::sqlite_in(tempfile::tempdir().unwrap()).await
    }

    /// Where there is a file system in memory, the file lies there: for tests that commit very often.
    pub(super) async fn sqlite_in_memory() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::sqlite_in(folder.unwrap()).await
    }

    async fn sqlite_in(folder: tempfile::TempDir) -> Self {
        let path: PathBuf = folder.path().join("tide.db");
        let url: StoreUrl = format!("sqlite:{}", path.display()).parse().unwrap();
        let store = open(&url, StoreOptions::default()).await.unwrap();
        let db = SqlitePool::connect(&format!("sqlite:{}", path.display())).await.unwrap();
        Self { store, url, db: Db::Sqlite(db), _folder: Some(folder) }
    }

    pub(super) async fn postgres() -> Option<Self> {
        let text = cluster::new_database().await?;
        let url: StoreUrl = text.parse().unwrap();
        let store = open(&url, StoreOptions::default()).await.unwrap();
        let db = PgPool::connect(&text).await.unwrap();
        Some(Self { store, url, db: Db::Postgres(db), _folder: None })
    }

    pub(super) async fn close(&self) {
        self.store.close().await;
        match &self.db {
            Db::Sqlite(db) => db.close().await,
            Db::Postgres(db) => db.close().await,
        }
    }

    /// Statements of any kind; answers the rows affected.
    pub(super) async fn execute(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.db {
            Db::Sqlite(db) => Ok(db.execute(sqlx::raw_sql(sql)).await?.rows_affected()),
            Db::Postgres(db) => Ok(db.execute(sqlx::raw_sql(sql)).await?.rows_affected()),
        }
    }

    /// The first column of every row. `sql` casts it to text.
    pub(super) async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.db {
            Db::Sqlite(db) => {
                let rows = sqlx::query(sql).fetch_all(db).await.unwrap();
                rows.iter().map(|r| r.get(0)).collect()
            }
            Db::Postgres(db) => {
                let rows = sqlx::query(sql).fetch_all(db).await.unwrap();
                rows.iter().map(|r| r.get(0)).collect()
            }
        }
    }

    pub(super) async fn count(&self, what: &str) -> u64 {
        let texts = self.texts(&format!("SELECT CAST(count(*) AS text) FROM {what}")).await;
        texts[0].parse().unwrap()
    }

    /// Everything in an event's row.
    pub(super) async fn row(&self, event: EventId) -> OutboxEvent {
        self.store.event(event).await.unwrap().unwrap().event
    }

    /// Makes everything that is stored older.
    pub(super) async fn age(&self, by: Duration) {
        let micros = by.as_micros();
        let mut sql = String::new();
        let shift = |sql: &mut String, by: &str, more: &[(&str, &[&str])]| {
            for (table, columns) in TIMES.iter().chain(more) {
                let sets: Vec<_> = columns.iter().map(|c| format!("{c} = {c} - {by}")).collect();
                sql.push_str(&format!("UPDATE {table} SET {};", sets.join(", ")));
            }
        };
        match &self.db {
            Db::Sqlite(_) => {
                let guards = "FROM sqlite_schema WHERE type = 'trigger' \
                              AND name LIKE '%_are_never_changed'";
                let again = self.texts(&format!("SELECT sql || ';' {guards}")).await;
                let drops =
                    self.texts(&format!("SELECT 'DROP TRIGGER ' || name || ';' {guards}")).await;
                sql.push_str(&format!("BEGIN IMMEDIATE; {}", drops.concat()));
                shift(&mut sql, &micros.to_string(), &[]);
                sql.push_str(&format!("{} COMMIT;", again.concat()));
            }
            Db::Postgres(_) => {
                sql.push_str("BEGIN; SET LOCAL session_replication_role = replica;");
                let by = format!("interval '{micros} microseconds'");
                shift(&mut sql, &by, TIMES_ON_POSTGRES);
                sql.push_str("COMMIT;");
            }
        }
        self.execute(&sql).await.unwrap();
    }

    /// From here on also what is append-only can be cleared, and ageing changes no schema.
    pub(super) async fn let_go_of_what_is_append_only(&self) {
        let triggers = match &self.db {
            Db::Sqlite(_) => {
                "SELECT 'DROP TRIGGER ' || name FROM sqlite_schema WHERE type = 'trigger' \
                 AND name LIKE '%_are_never_%'"
            }
            Db::Postgres(_) => {
                "SELECT format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass) \
                 FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE '%_are_never_%'"
            }
        };
        for drop in self.texts(triggers).await {
            self.execute(&drop).await.unwrap();
        }
    }

    /// Deletes every row, once [`Self::let_go_of_what_is_append_only`] was called.
    pub(super) async fn clear(&self) {
        let tables = [
            "payment_watches",
            "withdrawal_closings",
            "account_changes",
            "signed_transactions",
            "withdrawal_nonces",
            "chain_accounts",
            "withdrawal_transitions",
            "withdrawals",
            "outbox_events",
            "outbox_attempts",
            "idempotency_keys",
            "checkpoints",
            "route_controls",
        ];
        let delete: String = tables.map(|table| format!("DELETE FROM {table};")).concat();
        self.execute(&format!("BEGIN; {delete} COMMIT;")).await.unwrap();
    }

    /// Inserts as a stranger would, with nothing but the columns of the contract.
    pub(super) async fn insert(&self, event_type: &str, aggregate_id: &str) -> EventId {
        self.insert_with(event_type, aggregate_id, "", "").await
    }

    pub(super) async fn insert_with(
        &self,
        event_type: &str,
        aggregate_id: &str,
        columns: &str,
        values: &str,
    ) -> EventId {
        let id = EventId::generate();
        let aggregate_id = aggregate_id.replace('\'', "''");
        self.execute(&format!(
            "INSERT INTO outbox_events (id, aggregate_type, aggregate_id, event_type, payload\
             {columns}) VALUES ('{id}', 'ORDER', '{aggregate_id}', '{event_type}', \
             '{{\"n\": 1}}'{values})"
        ))
        .await
        .unwrap();
        id
    }

    /// Accepts a withdrawal with the default flow's events.
    pub(super) async fn accept(&self) -> Withdrawal {
        let request = acceptance("key");
        let withdrawal = request.withdrawal.clone();
        let key = IdempotencyClaim { key: withdrawal.id.to_string(), ..request.idempotency };
        let request = AcceptWithdrawal { idempotency: key, ..request };
        assert_eq!(self.store.accept_withdrawal(request).await.unwrap(), Accepted::Created);
        withdrawal
    }

    pub(super) async fn claim(&self, event_type: &str, limit: u32) -> Vec<OutboxEvent> {
        self.claim_ordered(event_type, limit, &[]).await
    }

    pub(super) async fn claim_ordered(
        &self,
        event_type: &str,
        limit: u32,
        ordered_among: &[EventType],
    ) -> Vec<OutboxEvent> {
        let request = Claim {
            host: &HostId::from_text("host-a".into()),
            event_type: &event_type.parse().unwrap(),
            limit,
            lease_for: MINUTE,
            ordered_among,
        };
        self.store.claim(request).await.unwrap()
    }

    /// Claims exactly one.
    pub(super) async fn claim_one(&self, event_type: &str) -> OutboxEvent {
        let mut events = self.claim(event_type, 10).await;
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }

    pub(super) async fn settle_one(&self, event: &OutboxEvent, decision: Decision) -> Settled {
        let settlement = settlement(event, decision);
        let mut settled = self.store.settle(vec![settlement]).await.unwrap();
        assert_eq!(settled.len(), 1);
        settled.remove(0)
    }

    pub(super) async fn status(&self, id: WithdrawalId) -> String {
        self.store.withdrawal(id).await.unwrap().unwrap().state.status().to_string()
    }

    /// The events of a withdrawal as `TYPE STATUS`, in order.
    pub(super) async fn events_of(&self, id: WithdrawalId) -> Vec<String> {
        let timeline = self.store.timeline(id).await.unwrap().unwrap();
        let events = timeline.events.iter();
        events.map(|e| format!("{} {}", e.event.event_type, e.event.state.status())).collect()
    }
}

pub(super) fn now() -> Timestamp {
    chrono::DateTime::from_timestamp_micros(chrono::Utc::now().timestamp_micros()).unwrap()
}

pub(super) fn acceptance(key: &str) -> AcceptWithdrawal {
    let request = WithdrawalRequest {
        user_id: "user-1".into(),
        asset: "ETH".into(),
        network: "eip155:1".parse().unwrap(),
        amount: "1.5".parse().unwrap(),
        destination_address: "0x52908400098527886E0F7030069857D2E4169EE7".into(),
    };
    let withdrawal = Withdrawal::requested(WithdrawalId::generate(), request, now());
    AcceptWithdrawal {
        events: Flow::default().events(&withdrawal, Some("00-ab-cd-01")),
        idempotency: IdempotencyClaim {
            scope: "caller".into(),
            key: key.into(),
            fingerprint: "f1".into(),
        },
        answer: Answer {
            status: 201,
            location: format!("/v1/withdrawals/{}", withdrawal.id),
            body: format!("{{\"id\": \"{}\"}}", withdrawal.id),
        },
        withdrawal,
    }
}

pub(super) fn lease(event: &OutboxEvent) -> LeaseRef {
    let EventState::Processing(lease) = &event.state else { panic!("not leased: {event:?}") };
    LeaseRef { event: event.id, token: lease.token }
}

/// The same lease, as one that is older by a claim.
pub(super) fn older(lease: LeaseRef) -> LeaseRef {
    LeaseRef { token: LeaseToken(lease.token.0 - 1), ..lease }
}

pub(super) fn settlement(event: &OutboxEvent, decision: Decision) -> Settlement {
    Settlement {
        lease: lease(event),
        aggregate: event.aggregate.clone(),
        event_type: event.event_type.clone(),
        decision,
        attempt: AttemptRecord {
            number: event.attempt_count + 1,
            plugin: "a-plugin".into(),
            release_digest: "abc".into(),
            started_at: now(),
            duration: Duration::from_millis(5),
            on_canary: false,
        },
    }
}

pub(super) fn done() -> Decision {
    Decision::Done(Receipt::default())
}

pub(super) fn retry_after(after: Duration) -> Decision {
    Decision::Retry { after, reason: "503".into(), outcome_unknown: false }
}
