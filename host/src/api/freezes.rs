//! `/v1/freezes`: what is held from being signed, on all hosts at once. They need no key: a repeat
//! changes nothing and says so.

use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderMap, Uri};
use serde::Serialize;

use crate::domain::{Freeze, FreezeScope, FreezeSubject};
use crate::store::{ControlChange, ControlNote};

use super::auth::Caller;
use super::body::read_json;
use super::json::Json;
use super::problem::{FieldError, Problem, ProblemKind};
use super::query::Query;
use super::routes::read_reason;
use super::state::Shared;
use super::view::time;

#[derive(Debug, Serialize)]
pub(super) struct FreezeListView {
    items: Vec<FreezeView>,
}

#[derive(Debug, Serialize)]
pub(super) struct FreezeView {
    id: i64,
    /// `all`, `user`, `asset` or `withdrawal`.
    scope: &'static str,
    user_id: Option<String>,
    asset: Option<String>,
    /// Of an asset; null: on each network.
    network: Option<String>,
    withdrawal_id: Option<String>,
    reason: String,
    frozen_by: String,
    frozen_at: String,
}

#[derive(Debug, Serialize)]
pub(super) struct FrozenView {
    freeze: FreezeView,
    /// False if it was frozen already.
    changed: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct LiftedView {
    id: i64,
    /// False if it was lifted already.
    changed: bool,
}

impl From<Freeze> for FreezeView {
    fn from(freeze: Freeze) -> Self {
        let mut view = Self {
            id: freeze.id,
            scope: freeze.subject.scope().as_str(),
            user_id: None,
            asset: None,
            network: None,
            withdrawal_id: None,
            reason: freeze.reason,
            frozen_by: freeze.frozen_by,
            frozen_at: time(freeze.frozen_at),
        };
        match freeze.subject {
            FreezeSubject::All => {}
            FreezeSubject::User(user) => view.user_id = Some(user),
            FreezeSubject::Asset { asset, network } => {
                view.asset = Some(asset);
                view.network = network.map(|network| network.to_string());
            }
            FreezeSubject::Withdrawal(id) => view.withdrawal_id = Some(id.to_string()),
        }
        view
    }
}

pub(super) async fn list_freezes(
    State(shared): State<Shared>,
    uri: Uri,
) -> Result<axum::Json<FreezeListView>, Problem> {
    Query::new(&uri).finish()?;
    let freezes = shared.api.policies.freezes().await?;
    Ok(axum::Json(FreezeListView { items: freezes.into_iter().map(Into::into).collect() }))
}

pub(super) async fn set_freeze(
    State(shared): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<FrozenView>, Problem> {
    let body = read_json(&headers, body, &shared.api.limits).await?;
    let (subject, reason) = read_freeze(&body)
        .map_err(|errors| Problem::with_errors(ProblemKind::InvalidFields, errors))?;
    let note = ControlNote { reason: &reason, by: &caller.name };
    let (freeze, change) = shared.api.policies.freeze(&subject, note).await?;
    tracing::warn!(freeze.id = freeze.id, %subject, reason, by = caller.name, ?change, "something is frozen");
    let changed = change == ControlChange::Changed;
    Ok(axum::Json(FrozenView { freeze: freeze.into(), changed }))
}

pub(super) async fn lift_freeze(
    State(shared): State<Shared>,
    caller: Caller,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<LiftedView>, Problem> {
    let id = path.ok().and_then(|Path(text)| text.parse::<i64>().ok());
    let id = id.ok_or_else(|| Problem::not_found("freeze"))?;
    let reason = read_reason(&headers, body, &shared.api.limits).await?;
    let note = ControlNote { reason: &reason, by: &caller.name };
    let change = shared.api.policies.lift_freeze(id, note).await?;
    let change = change.ok_or_else(|| Problem::not_found("freeze"))?;
    tracing::warn!(freeze.id = id, reason, by = caller.name, ?change, "a freeze is lifted");
    Ok(axum::Json(LiftedView { id, changed: change == ControlChange::Changed }))
}

/// Reads what is to be frozen, or names all that is wrong with it.
fn read_freeze(body: &Json) -> Result<(FreezeSubject, String), Vec<FieldError>> {
    let Json::Object(entries) = body else {
        let detail = format!("must be an object, and is {}", body.kind());
        return Err(vec![FieldError::new("$", "wrong_type", detail)]);
    };
    let mut fields = Fields { entries, read: Vec::new(), errors: Vec::new() };
    let scope = fields.text("scope", true, |text| {
        let known = FreezeScope::ALL.into_iter().find(|scope| scope.as_str() == text);
        known.ok_or("needs one of all, user, asset and withdrawal")
    });
    let subject = match scope {
        None => None,
        Some(FreezeScope::All) => Some(FreezeSubject::All),
        Some(FreezeScope::User) => {
            fields.text("user_id", true, |text| name(text, 128)).map(FreezeSubject::User)
        }
        Some(FreezeScope::Asset) => {
            let asset = fields.text("asset", true, |text| name(text, 32));
            let network = fields.text("network", false, |text| {
                text.parse().map_err(|_| "needs the form of CAIP-2, such as eip155:1")
            });
            asset.map(|asset| FreezeSubject::Asset { asset, network })
        }
        Some(FreezeScope::Withdrawal) => fields
            .text("withdrawal_id", true, |text| text.parse().map_err(|_| "needs a UUID"))
            .map(FreezeSubject::Withdrawal),
    };
    let reason = fields.text("reason", true, |text| name(text, 512));
    if scope.is_some() {
        fields.others();
    }
    match (subject, reason) {
        (Some(subject), Some(reason)) if fields.errors.is_empty() => Ok((subject, reason)),
        _ => Err(fields.errors),
    }
}

fn name(text: &str, chars_max: usize) -> Result<String, &'static str> {
    let valid = (1..=chars_max).contains(&text.chars().count())
        && !text.trim().is_empty()
        && !text.chars().any(char::is_control);
    if valid { Ok(text.to_owned()) } else { Err("is empty, too long, or has control characters") }
}

struct Fields<'a> {
    entries: &'a [(String, Json)],
    read: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Fields<'_> {
    fn text<T>(
        &mut self,
        name: &'static str,
        required: bool,
        read: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        self.read.push(name);
        let mut values = self.entries.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let (code, detail) = match (values.next(), values.next()) {
            (None, _) if !required => return None,
            (None, _) => ("required", "is missing".to_owned()),
            (Some(_), Some(_)) => ("duplicate", "is given more than once".to_owned()),
            (Some(Json::Text(text)), None) => match read(text) {
                Ok(value) => return Some(value),
                Err(rule) => ("invalid", rule.to_owned()),
            },
            (Some(other), None) => {
                ("wrong_type", format!("must be a string, and is {}", other.kind()))
            }
        };
        self.errors.push(FieldError::new(name, code, detail));
        None
    }

    /// A field of another scope, too, is one that would freeze something else than is meant.
    fn others(&mut self) {
        for (key, _) in self.entries {
            if !self.read.contains(&key.as_str()) {
                let detail = format!("is unknown; the fields are: {}", self.read.join(", "));
                self.errors.push(FieldError::new(key, "unknown", detail));
            }
        }
    }
}
