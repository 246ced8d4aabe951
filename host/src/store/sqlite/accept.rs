//! Taking withdrawals, or events of others.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;

use super::write::{insert_events, insert_withdrawals, json, micros_of};
use super::writer::{Outcome, Writer};
use super::{Sqlite, now};
use crate::store::error::Doing;
use crate::store::gather::AcceptTogether;
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
        let idempotency = request.idempotency.clone();
        if self.gathering.accept(request).await? {
            self.wakeup.send();
            return Ok(Accepted::Created);
        }
        self.find_answer(&idempotency)
            .await?
            .ok_or_else(|| StoreError::unavailable(DOING, "the idempotency key is taken and gone"))
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

/// Where withdrawals are written that were handed in at the same time.
pub(super) struct Together(pub(super) Arc<Writer>);

#[async_trait]
impl AcceptTogether for Together {
    async fn accept_together(
        &self,
        requests: &[AcceptWithdrawal],
    ) -> Result<Vec<bool>, StoreError> {
        let requests = requests.to_vec();
        self.0.write(DOING, |c| Box::pin(accept(c, requests))).await
    }
}

async fn accept(
    connection: &mut SqliteConnection,
    requests: Vec<AcceptWithdrawal>,
) -> Result<Outcome<Vec<bool>>, StoreError> {
    let free = claim_keys(connection, &requests).await?;
    let written: Vec<_> = requests.iter().map(|r| free.contains(&r.answer.location)).collect();
    let taken = || requests.iter().zip(&written).filter(|(_, free)| **free).map(|(r, _)| r);
    if taken().next().is_none() {
        return Ok(Outcome::Undo(written));
    }
    let withdrawals = taken().map(|r| (&r.withdrawal, r.idempotency.scope.as_str()));
    insert_withdrawals(connection, &withdrawals.collect::<Vec<_>>()).await?;
    insert_events(connection, &taken().flat_map(|r| &r.events).collect::<Vec<_>>()).await?;
    Ok(Outcome::Keep(written))
}

/// Takes the keys that are free. Answers the locations of those requests: a location is one
/// withdrawal's alone.
async fn claim_keys(
    connection: &mut SqliteConnection,
    requests: &[AcceptWithdrawal],
) -> Result<HashSet<String>, StoreError> {
    let rows: Vec<_> = requests
        .iter()
        .map(|AcceptWithdrawal { idempotency, answer, .. }| {
            let IdempotencyClaim { scope, key, fingerprint } = idempotency;
            (scope, key, fingerprint, answer.status, &answer.location, &answer.body)
        })
        .collect();
    let claimed: Vec<String> = sqlx::query_scalar(
        "INSERT INTO idempotency_keys (scope, key, fingerprint, answer_status, answer_location, \
         answer_body, created_at) SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, \
         value ->> 4, value ->> 5, ?2 FROM json_each(?1) WHERE true ON CONFLICT DO NOTHING \
         RETURNING answer_location",
    )
    .bind(json(&rows)?)
    .bind(micros_of(now()))
    .fetch_all(connection)
    .await
    .doing(DOING)?;
    Ok(claimed.into_iter().collect())
}

async fn take(
    connection: &mut SqliteConnection,
    request: AcceptEvents,
) -> Result<Outcome<AcceptedEvents>, StoreError> {
    let AcceptEvents { events, idempotency, answer } = request;
    if let Some(before) = claim(connection, &idempotency, &answer).await? {
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
    insert_events(connection, &events.iter().collect::<Vec<_>>()).await?;
    Ok(Outcome::Keep(AcceptedEvents::As(Accepted::Created)))
}

/// Takes the key. None if it was free; otherwise what its first request was answered.
async fn claim(
    connection: &mut SqliteConnection,
    idempotency: &IdempotencyClaim,
    answer: &Answer,
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
    .doing(TAKING)?;
    if claimed.rows_affected() == 1 {
        return Ok(None);
    }
    let before = answered(connection, idempotency).await?;
    before
        .map(Some)
        .ok_or_else(|| StoreError::conflict(TAKING, "the idempotency key is taken and gone"))
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
