//! The accounts that pay.

use async_trait::async_trait;

use super::{Postgres, stored};
use crate::store::error::Doing;
use crate::store::writes::storable;
use crate::store::{Account, AccountChange, AccountNote, AccountStore, StoreError, row};

const CHANGE: &str = "change an account";

#[async_trait]
impl AccountStore for Postgres {
    async fn register_account(
        &self,
        chain_id: u64,
        address: &str,
        chain_nonce: u64,
    ) -> Result<Account, StoreError> {
        const DOING: &str = "register an account";
        let chain_id = stored(DOING, chain_id)?;
        sqlx::query(
            "INSERT INTO chain_accounts (chain_id, address, next_nonce) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
        )
        .bind(chain_id)
        .bind(address)
        .bind(stored(DOING, chain_nonce)?)
        .execute(&self.pool)
        .await
        .doing(DOING)?;
        let found = sqlx::query(
            "SELECT chain_id, address, next_nonce, frozen_reason FROM chain_accounts \
             WHERE chain_id = $1 AND address = $2",
        )
        .bind(chain_id)
        .bind(address)
        .fetch_one(&self.pool)
        .await
        .doing(DOING)?;
        row::account(&found)
    }

    async fn accounts(&self, chain_id: u64) -> Result<Vec<Account>, StoreError> {
        const DOING: &str = "read accounts";
        let found = sqlx::query(
            "SELECT chain_id, address, next_nonce, frozen_reason FROM chain_accounts \
             WHERE chain_id = $1 ORDER BY address COLLATE \"C\"",
        )
        .bind(stored(DOING, chain_id)?)
        .fetch_all(&self.pool)
        .await
        .doing(DOING)?;
        found.iter().map(row::account).collect()
    }

    async fn freeze_account(&self, change: AccountChange<'_>) -> Result<Option<bool>, StoreError> {
        let changed = sqlx::query(
            "WITH changed AS (UPDATE chain_accounts SET frozen_reason = $3 \
             WHERE chain_id = $1 AND address = $2 AND frozen_reason IS NULL \
             RETURNING chain_id, address) \
             INSERT INTO account_changes (chain_id, address, kind, reason, changed_by, changed_at) \
             SELECT chain_id, address, 'frozen', $3, $4, now() FROM changed",
        )
        .bind(stored(CHANGE, change.chain_id)?)
        .bind(change.address)
        .bind(storable(change.reason))
        .bind(storable(change.by))
        .execute(&self.pool)
        .await
        .doing(CHANGE)?;
        self.changed(change, changed.rows_affected()).await
    }

    async fn unfreeze_account(
        &self,
        change: AccountChange<'_>,
        next_nonce: u64,
    ) -> Result<Option<bool>, StoreError> {
        let changed = sqlx::query(
            "WITH changed AS (UPDATE chain_accounts SET frozen_reason = NULL, \
             next_nonce = greatest(next_nonce, $5) \
             WHERE chain_id = $1 AND address = $2 AND frozen_reason IS NOT NULL \
             RETURNING chain_id, address) \
             INSERT INTO account_changes (chain_id, address, kind, reason, changed_by, changed_at) \
             SELECT chain_id, address, 'unfrozen', $3, $4, now() FROM changed",
        )
        .bind(stored(CHANGE, change.chain_id)?)
        .bind(change.address)
        .bind(storable(change.reason))
        .bind(storable(change.by))
        .bind(stored(CHANGE, next_nonce)?)
        .execute(&self.pool)
        .await
        .doing(CHANGE)?;
        self.changed(change, changed.rows_affected()).await
    }

    async fn account_history(
        &self,
        chain_id: u64,
        address: &str,
    ) -> Result<Vec<AccountNote>, StoreError> {
        const DOING: &str = "read an account's history";
        let notes = sqlx::query(
            "SELECT address, kind, reason, changed_by, changed_at FROM account_changes \
             WHERE chain_id = $1 AND address = $2 ORDER BY id",
        )
        .bind(stored(DOING, chain_id)?)
        .bind(address)
        .fetch_all(&self.pool)
        .await
        .doing(DOING)?;
        notes.iter().map(row::account_note).collect()
    }
}

impl Postgres {
    async fn changed(
        &self,
        change: AccountChange<'_>,
        rows: u64,
    ) -> Result<Option<bool>, StoreError> {
        if rows > 0 {
            return Ok(Some(true));
        }
        let known: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM chain_accounts WHERE chain_id = $1 AND address = $2)",
        )
        .bind(stored(CHANGE, change.chain_id)?)
        .bind(change.address)
        .fetch_one(&self.pool)
        .await
        .doing(CHANGE)?;
        Ok(known.then_some(false))
    }
}
