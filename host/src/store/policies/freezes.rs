//! What is held from being signed.

use super::{OwnedNote, waits};
use crate::domain::{
    Freeze, FreezeScope, FreezeSubject, WithdrawalId, WithdrawalRequest, policy_rule,
};
use crate::store::checks::Dialect;
use crate::store::releases::{Outcome, Statements, Value};
use crate::store::row::{Columns, named, one_of};
use crate::store::{ControlChange, StoreError};

pub(super) const DOING: &str = "freeze something, or let it go";

/// The advisory lock that whoever signs shares, and whoever freezes has alone: when a freeze is
/// answered, no signature that missed it is still on its way. Any number does; "frz".
const LOCK: i64 = 0x0066_727a;

const COLUMNS: &str = "id, scope, subject, network, reason, frozen_by, frozen_at";

/// From here to the end of the transaction nothing new is frozen. SQLite has one writer anyhow.
pub(super) async fn hold_off<C: Statements>(
    c: &mut C,
    doing: &'static str,
) -> Result<(), StoreError> {
    lock(c, doing, "SELECT pg_advisory_xact_lock_shared($1)").await
}

async fn lock<C: Statements>(c: &mut C, doing: &'static str, sql: &str) -> Result<(), StoreError> {
    match c.dialect() {
        Dialect::Postgres => c.rows(doing, sql, vec![LOCK.into()]).await.map(drop),
        Dialect::Sqlite { .. } => Ok(()),
    }
}

/// The freeze that holds a withdrawal, the oldest if there are several.
pub(super) async fn holding<C: Statements>(
    c: &mut C,
    doing: &'static str,
    id: WithdrawalId,
    request: &WithdrawalRequest,
) -> Result<Option<Freeze>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM freezes WHERE lifted_at IS NULL AND (scope = 'all' \
         OR scope = 'user' AND subject = $1 OR scope = 'withdrawal' AND subject = $2 \
         OR scope = 'asset' AND subject = $3 AND network IN ('', $4)) ORDER BY id LIMIT 1"
    );
    let values = vec![
        request.user_id.as_str().into(),
        id.to_string().into(),
        request.asset.as_str().into(),
        request.network.as_str().into(),
    ];
    c.rows(doing, &sql, values).await?.first().map(decode).transpose()
}

pub(super) async fn freeze<C: Statements>(
    c: &mut C,
    subject: FreezeSubject,
    note: OwnedNote,
) -> Result<Outcome<(Freeze, ControlChange)>, StoreError> {
    lock(c, DOING, "SELECT pg_advisory_xact_lock($1)").await?;
    let key = key(&subject);
    let sql = "INSERT INTO freezes (scope, subject, network, reason, frozen_by, frozen_at) \
               VALUES ($1, $2, $3, $4, $5, {now}) ON CONFLICT DO NOTHING";
    let values = key.iter().cloned().chain([note.reason.into(), note.by.into()]).collect();
    let written = c.execute(DOING, sql, values).await?;
    let sql = format!(
        "SELECT {COLUMNS} FROM freezes WHERE scope = $1 AND subject = $2 AND network = $3 \
         AND lifted_at IS NULL"
    );
    let rows = c.rows(DOING, &sql, key.to_vec()).await?;
    let found = rows.first().map(decode).transpose()?;
    let found = found.ok_or_else(|| StoreError::conflict(DOING, "the freeze is gone"))?;
    Ok(match written {
        0 => Outcome::Undo((found, ControlChange::Already)),
        _ => Outcome::Keep((found, ControlChange::Changed)),
    })
}

pub(super) async fn lift<C: Statements>(
    c: &mut C,
    id: i64,
    note: OwnedNote,
) -> Result<Outcome<Option<ControlChange>>, StoreError> {
    let sql = "UPDATE freezes SET lifted_by = $2, lift_reason = $3, lifted_at = {now} \
               WHERE id = $1 AND lifted_at IS NULL";
    let values = vec![id.into(), note.by.into(), note.reason.into()];
    if c.execute(DOING, sql, values).await? == 1 {
        waits::wake_all(c, DOING, policy_rule::FREEZE).await?;
        return Ok(Outcome::Keep(Some(ControlChange::Changed)));
    }
    let known = c.rows(DOING, "SELECT id FROM freezes WHERE id = $1", vec![id.into()]).await?;
    Ok(Outcome::Undo((!known.is_empty()).then_some(ControlChange::Already)))
}

pub(super) async fn all<C: Statements>(c: &mut C) -> Result<Vec<Freeze>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM freezes WHERE lifted_at IS NULL ORDER BY id");
    c.rows(DOING, &sql, Vec::new()).await?.iter().map(decode).collect()
}

/// Scope, subject and network.
fn key(subject: &FreezeSubject) -> [Value; 3] {
    let (of, network) = match subject {
        FreezeSubject::All => (String::new(), ""),
        FreezeSubject::User(user) => (user.clone(), ""),
        FreezeSubject::Asset { asset, network } => {
            (asset.clone(), network.as_ref().map_or("", |network| network.as_str()))
        }
        FreezeSubject::Withdrawal(id) => (id.to_string(), ""),
    };
    [subject.scope().as_str().into(), of.into(), network.into()]
}

fn decode<R: Columns>(row: &R) -> Result<Freeze, StoreError> {
    named("freezes", "id", row, |row| {
        let subject = match one_of(&FreezeScope::ALL, FreezeScope::as_str, &row.text("scope")?)? {
            FreezeScope::All => FreezeSubject::All,
            FreezeScope::User => FreezeSubject::User(row.text("subject")?),
            FreezeScope::Withdrawal => FreezeSubject::Withdrawal(row.parse("subject")?),
            FreezeScope::Asset => FreezeSubject::Asset {
                asset: row.text("subject")?,
                network: match row.text("network")?.as_str() {
                    "" => None,
                    _ => Some(row.parse("network")?),
                },
            },
        };
        Ok(Freeze {
            id: row.integer("id")?,
            subject,
            reason: row.text("reason")?,
            frozen_by: row.text("frozen_by")?,
            frozen_at: row.time("frozen_at")?,
        })
    })
}
