//! The accounts that pay.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::write::micros_of;
use super::writer::Outcome;
use super::{Sqlite, now, stored};
use crate::store::error::Doing;
use crate::store::writes::storable;
use crate::store::{Account, AccountChange, AccountNote, AccountStore, StoreError, row};

const CHANGE: &str = "change an account";

#[async_trait]
impl AccountStore for Sqlite {
    async fn register_account(
        &self,
        chain_id: u64,
        address: &str,
        chain_nonce: u64,
    ) -> Result<Account, StoreError> {
        const DOING: &str = "register an account";
        let (chain_id, nonce) = (stored(DOING, chain_id)?, stored(DOING, chain_nonce)?);
        let address = address.to_owned();
        self.writer
            .write(DOING, move |c| {
                Box::pin(async move {
                    sqlx::query(
                        "INSERT INTO chain_accounts (chain_id, address, next_nonce, created_at) \
                         VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    )
                    .bind(chain_id)
                    .bind(&address)
                    .bind(nonce)
                    .bind(micros_of(now()))
                    .execute(&mut *c)
                    .await
                    .doing(DOING)?;
                    let found = sqlx::query(
                        "SELECT * FROM chain_accounts WHERE chain_id = ? AND address = ?",
                    )
                    .bind(chain_id)
                    .bind(&address)
                    .fetch_one(c)
                    .await
                    .doing(DOING)?;
                    row::account(&found).map(Outcome::Keep)
                })
            })
            .await
    }

    async fn accounts(&self, chain_id: u64) -> Result<Vec<Account>, StoreError> {
        const DOING: &str = "read accounts";
        let found = sqlx::query("SELECT * FROM chain_accounts WHERE chain_id = ? ORDER BY address")
            .bind(stored(DOING, chain_id)?)
            .fetch_all(&self.reads)
            .await
            .doing(DOING)?;
        found.iter().map(row::account).collect()
    }

    async fn freeze_account(&self, change: AccountChange<'_>) -> Result<Option<bool>, StoreError> {
        self.change(
            change,
            "frozen",
            "UPDATE chain_accounts SET frozen_reason = ?3 \
             WHERE chain_id = ?1 AND address = ?2 AND frozen_reason IS NULL AND ?4 >= 0",
            0,
        )
        .await
    }

    async fn unfreeze_account(
        &self,
        change: AccountChange<'_>,
        next_nonce: u64,
    ) -> Result<Option<bool>, StoreError> {
        self.change(
            change,
            "unfrozen",
            "UPDATE chain_accounts SET frozen_reason = NULL, next_nonce = max(next_nonce, ?4) \
             WHERE chain_id = ?1 AND address = ?2 AND frozen_reason IS NOT NULL AND ?3 <> ''",
            next_nonce,
        )
        .await
    }

    async fn account_history(
        &self,
        chain_id: u64,
        address: &str,
    ) -> Result<Vec<AccountNote>, StoreError> {
        const DOING: &str = "read an account's history";
        let notes = sqlx::query(
            "SELECT * FROM account_changes WHERE chain_id = ? AND address = ? ORDER BY id",
        )
        .bind(stored(DOING, chain_id)?)
        .bind(address)
        .fetch_all(&self.reads)
        .await
        .doing(DOING)?;
        notes.iter().map(row::account_note).collect()
    }
}

impl Sqlite {
    async fn change(
        &self,
        change: AccountChange<'_>,
        kind: &'static str,
        update: &'static str,
        next_nonce: u64,
    ) -> Result<Option<bool>, StoreError> {
        let note = Note {
            chain_id: stored(CHANGE, change.chain_id)?,
            address: change.address.to_owned(),
            kind,
            reason: storable(change.reason),
            by: storable(change.by),
        };
        let next_nonce = stored(CHANGE, next_nonce)?;
        self.writer
            .write(CHANGE, move |c| {
                Box::pin(async move { carry_out(c, &note, update, next_nonce).await })
            })
            .await
    }
}

struct Note {
    chain_id: i64,
    address: String,
    kind: &'static str,
    reason: String,
    by: String,
}

async fn carry_out(
    connection: &mut SqliteConnection,
    note: &Note,
    update: &'static str,
    next_nonce: i64,
) -> Result<Outcome<Option<bool>>, StoreError> {
    let changed = sqlx::query(update)
        .bind(note.chain_id)
        .bind(&note.address)
        .bind(&note.reason)
        .bind(next_nonce)
        .execute(&mut *connection)
        .await
        .doing(CHANGE)?;
    if changed.rows_affected() == 0 {
        let known: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM chain_accounts WHERE chain_id = ? AND address = ?",
        )
        .bind(note.chain_id)
        .bind(&note.address)
        .fetch_one(connection)
        .await
        .doing(CHANGE)?;
        return Ok(Outcome::Undo((known > 0).then_some(false)));
    }
    sqlx::query(
        "INSERT INTO account_changes (chain_id, address, kind, reason, changed_by, changed_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(note.chain_id)
    .bind(&note.address)
    .bind(note.kind)
    .bind(&note.reason)
    .bind(&note.by)
    .bind(micros_of(now()))
    .execute(connection)
    .await
    .doing(CHANGE)?;
    Ok(Outcome::Keep(Some(true)))
}
