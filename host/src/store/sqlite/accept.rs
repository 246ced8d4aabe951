//! Taking a withdrawal, or events of others.

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::write::{insert_events, insert_withdrawal, json, micros_of};
use super::writer::Outcome;
use super::{Sqlite, now};
use crate::store::error::Doing;
use crate::store::row::{self, Columns};
use crate::store::{
    AcceptEvents, AcceptStore, AcceptWithdrawal, Accepted, AcceptedEvents, Answer,
    IdempotencyClaim, StoreError,
};

const DOING: &str = "accept a withdrawal";
const TAKING: &str = "accept events";

#[async_trait]
impl AcceptStore for Sqlite {
    async fn accept_withdrawal(&self, request: AcceptWithdrawal) -> Result<Accepted, StoreError> {
        let accepted = self.writer.write(DOING, |c| Box::pin(accept(c, request))).await?;
        if accepted == Accepted::Created {
            self.wakeup.send();
        }
        Ok(accepted)
    }

    async fn accept_events(&self, request: AcceptEvents) -> Result<AcceptedEvents, StoreError> {
        let accepted = self.writer.write(TAKING, |c| Box::pin(take(c, request))).await?;
        if accepted == AcceptedEvents::As(Accepted::Created) {
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
    if let Some(before) = claim(connection, &idempotency, &answer, DOING).await? {
        return Ok(Outcome::Undo(before));
    }
    insert_withdrawal(connection, &withdrawal).await?;
    insert_events(connection, &events).await?;
    Ok(Outcome::Keep(Accepted::Created))
}

async fn take(
    connection: &mut SqliteConnection,
    request: AcceptEvents,
) -> Result<Outcome<AcceptedEvents>, StoreError> {
    let AcceptEvents { events, idempotency, answer } = request;
    if let Some(before) = claim(connection, &idempotency, &answer, TAKING).await? {
        return Ok(Outcome::Undo(AcceptedEvents::As(before)));
    }
    // This transaction holds the file's one right to write, so what is free now stays free.
    let keys: Vec<_> = events.iter().map(|e| e.idempotency_key.to_string()).collect();
    let taken = sqlx::query(
        "SELECT idempotency_key FROM outbox_events \
         WHERE idempotency_key IN (SELECT value FROM json_each(?)) ORDER BY position",
    )
    .bind(json(&keys)?)
    .fetch_all(&mut *connection)
    .await
    .doing(TAKING)?;
    if !taken.is_empty() {
        let taken = taken.iter().map(|found| found.uuid("idempotency_key"));
        let taken = row::field("outbox_events", taken.collect())?;
        return Ok(Outcome::Undo(AcceptedEvents::EventKeysTaken(taken)));
    }
    insert_events(connection, &events).await?;
    Ok(Outcome::Keep(AcceptedEvents::As(Accepted::Created)))
}

/// Takes the key. None if it was free; otherwise what its first request was answered.
async fn claim(
    connection: &mut SqliteConnection,
    idempotency: &IdempotencyClaim,
    answer: &Answer,
    doing: &'static str,
) -> Result<Option<Accepted>, StoreError> {
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
    .doing(doing)?;
    if claimed.rows_affected() == 1 {
        return Ok(None);
    }
    let before = answered(connection, idempotency).await?;
    before
        .map(Some)
        .ok_or_else(|| StoreError::conflict(doing, "the idempotency key is taken and gone"))
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
