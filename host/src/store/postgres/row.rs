//! Postgres's columns. What has no type of Rust's (json, numeric) is selected as text.

use sqlx::postgres::PgRow;
use sqlx::{Row, TypeInfo, ValueRef};
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::store::row::{ColumnError, Columns};

/// The columns of an event.
macro_rules! event_columns {
    () => {
        "id, position, aggregate_type, aggregate_id, event_type, payload::text AS payload, \
         idempotency_key, status, attempt_count, interruption_count, deferral_count, \
         outcome_unknown, next_retry_at, last_error, failure_code, skipped_at, detail, \
         locked_by, locked_until, lease_token, release_digest, available_at, valid_until, traceparent, \
         created_at, updated_at"
    };
}

/// That an event is PENDING or PROCESSING, as the predicate of the index of the queue says it. No
/// index may name a column that a claim changes, so none names the status.
macro_rules! in_queue {
    ($event:literal) => {
        concat!(
            $event,
            "done_at IS NULL AND ",
            $event,
            "next_retry_at IS NULL AND ",
            $event,
            "failure_code IS NULL"
        )
    };
}

/// The columns of a withdrawal.
macro_rules! withdrawal_columns {
    () => {
        "id, user_id, asset, network, amount::text AS amount, destination_address, status, \
         tx_hash, failure_reason, requested_at, broadcasted_at, confirmed_at, created_at, \
         updated_at"
    };
}

/// The columns of a signed transaction.
macro_rules! signed_columns {
    () => {
        "id, withdrawal_id, chain_id, account, nonce, hash, kind, raw, gas_limit, \
         fee_max_per_gas::text AS fee_max_per_gas, \
         priority_fee_max_per_gas::text AS priority_fee_max_per_gas, \
         native_cost_max::text AS native_cost_max, asset_units::text AS asset_units, signed_at"
    };
}

pub(super) use {event_columns, in_queue, signed_columns, withdrawal_columns};

impl Columns for PgRow {
    fn text_or_null(&self, column: &str) -> Result<Option<String>, ColumnError> {
        self.try_get(column).map_err(|e| e.to_string())
    }

    fn integer_or_null(&self, column: &str) -> Result<Option<i64>, ColumnError> {
        // Not tried one after the other: a refusal is put into words each time, for every row.
        let is_small = self.try_get_raw(column).is_ok_and(|raw| raw.type_info().name() == "INT4");
        if is_small {
            self.try_get(column).map(|small: Option<i32>| small.map(i64::from))
        } else {
            self.try_get(column)
        }
        .map_err(|e| e.to_string())
    }

    fn time_or_null(&self, column: &str) -> Result<Option<Timestamp>, ColumnError> {
        self.try_get(column).map_err(|e| e.to_string())
    }

    fn uuid(&self, column: &str) -> Result<Uuid, ColumnError> {
        self.try_get(column).map_err(|e| e.to_string())
    }

    fn flag(&self, column: &str) -> Result<bool, ColumnError> {
        self.try_get(column).map_err(|e| e.to_string())
    }

    fn bytes(&self, column: &str) -> Result<Vec<u8>, ColumnError> {
        self.try_get(column).map_err(|e| e.to_string())
    }
}
