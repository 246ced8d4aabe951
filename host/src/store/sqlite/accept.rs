//! Taking a withdrawal.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::write::{insert_events, insert_withdrawal, micros_of};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::store::error::Doing;
use crate::store::{AcceptStore, AcceptWithdrawal, Accepted, IdempotencyClaim, StoreError, row};

const DOING: &str = "accept a withdrawal";

#[async_trait]
impl AcceptStore for Sqlite {
    async fn accept_withdrawal(&self, request: AcceptWithdrawal) -> Result<Accepted, StoreError> {
        let accepted = self.writer.write(DOING, |c| Box::pin(accept(c, request))).await?;
        if accepted == Accepted::Created {
            self.wakeup.send();
        }
        Ok(accepted)
    }

    async fn find_answer(&self, claim: &IdempotencyClaim) -> Result<Option<Accepted>, StoreError> {
        let mut connection = self.reads.acquire().await.doing("look for an answer")?;
        answered(&mut connection, claim).await
    }
}

async fn accept(
    connection: &mut SqliteConnection,
    request: AcceptWithdrawal,
) -> Result<Outcome<Accepted>, StoreError> {
    let AcceptWithdrawal { withdrawal, events, idempotency, answer } = request;
    let claimed = sqlx::query(
        "INSERT INTO idempotency_keys (scope, key, fingerprint, answer_status, answer_location, \
         answer_body, created_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(&idempotency.scope)
    .bind(&idempotency.key)
    .bind(&idempotency.fingerprint)
    .bind(i64::from(answer.status))
    .bind(&answer.location)
    .bind(&answer.body)
    .bind(micros_of(now()))
    .execute(&mut *connection)
    .await
    .doing(DOING)?;
    if claimed.rows_affected() == 0 {
        let before = answered(connection, &idempotency).await?;
        return before
            .map(Outcome::Undo)
            .ok_or_else(|| StoreError::conflict(DOING, "the idempotency key is taken and gone"));
    }
    insert_withdrawal(connection, &withdrawal).await?;
    insert_events(connection, &events).await?;
    Ok(Outcome::Keep(Accepted::Created))
}

async fn answered(
    connection: &mut SqliteConnection,
    claim: &IdempotencyClaim,
) -> Result<Option<Accepted>, StoreError> {
    let found = sqlx::query("SELECT * FROM idempotency_keys WHERE scope = ? AND key = ?")
        .bind(&claim.scope)
        .bind(&claim.key)
        .fetch_optional(connection)
        .await
        .doing("look for an answer")?;
    let Some(found) = found else { return Ok(None) };
    let (fingerprint, answer) = row::answer(&found)?;
    Ok(Some(if fingerprint == claim.fingerprint {
        Accepted::Replayed(answer)
    } else {
        Accepted::KeyReused
    }))
}
