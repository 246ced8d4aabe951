//! `/v1/accounts`: the accounts that pay, and whether the host signs for them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::{HeaderMap, Uri};
use serde::Serialize;

use crate::chain::{AccountError, AccountStanding, EvmChain};
use crate::domain::Network;
use crate::store::AccountNote;

use super::auth::Caller;
use super::problem::{Problem, ProblemKind};
use super::query::Query;
use super::routes::read_reason;
use super::state::Shared;
use super::view::time;

#[derive(Debug, Serialize)]
pub(super) struct AccountListView {
    items: Vec<AccountView>,
}

#[derive(Debug, Serialize)]
struct AccountView {
    network: String,
    address: String,
    has_key: bool,
    next_nonce: Option<u64>,
    /// How many of its transactions are mined; none while the nodes cannot say.
    mined: Option<u64>,
    balance_wei: Option<String>,
    frozen: bool,
    frozen_reason: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct AccountDetailView {
    #[serde(flatten)]
    account: AccountView,
    history: Vec<NoteView>,
}

#[derive(Debug, Serialize)]
struct NoteView {
    at: String,
    kind: &'static str,
    reason: String,
    by: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ChangedAccountView {
    network: String,
    address: String,
    frozen: bool,
    /// False if it was so already.
    changed: bool,
}

type AccountPath = Result<Path<(String, String)>, axum::extract::rejection::PathRejection>;

pub(super) async fn list_accounts(
    State(shared): State<Shared>,
    uri: Uri,
) -> Result<Json<AccountListView>, Problem> {
    Query::new(&uri).finish()?;
    let mut items = Vec::new();
    for (network, chain) in shared.api.chains.iter() {
        let standing = chain.standing().await?;
        items.extend(standing.into_iter().map(|account| view(network, account)));
    }
    Ok(Json(AccountListView { items }))
}

pub(super) async fn get_account(
    State(shared): State<Shared>,
    path: AccountPath,
) -> Result<Json<AccountDetailView>, Problem> {
    let (network, address) = names(path)?;
    let chain = chain_of(&shared, &network)?;
    let standing = chain.standing().await?;
    let found = standing.into_iter().find(|it| it.address.eq_ignore_ascii_case(&address));
    let account = found.ok_or_else(unknown)?;
    let history = chain.account_history(&address).await.map_err(problem)?;
    let history = history.into_iter().map(NoteView::from).collect();
    Ok(Json(AccountDetailView { account: view(&network, account), history }))
}

pub(super) async fn freeze_account(
    State(shared): State<Shared>,
    caller: Caller,
    path: AccountPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ChangedAccountView>, Problem> {
    change(&shared, &caller, path, (headers, body), true).await
}

pub(super) async fn unfreeze_account(
    State(shared): State<Shared>,
    caller: Caller,
    path: AccountPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ChangedAccountView>, Problem> {
    change(&shared, &caller, path, (headers, body), false).await
}

async fn change(
    shared: &Shared,
    caller: &Caller,
    path: AccountPath,
    (headers, body): (HeaderMap, Body),
    frozen: bool,
) -> Result<Json<ChangedAccountView>, Problem> {
    let (network, address) = names(path)?;
    let reason = read_reason(&headers, body, &shared.api.limits).await?;
    let chain = chain_of(shared, &network)?;
    let changed = if frozen {
        chain.freeze_account(&address, &reason, &caller.name).await
    } else {
        chain.unfreeze_account(&address, &reason, &caller.name).await
    };
    let changed = changed.map_err(problem)?;
    tracing::warn!(%network, account = address, frozen, reason, by = caller.name, changed, "an account is frozen or unfrozen by hand");
    Ok(Json(ChangedAccountView { network: network.to_string(), address, frozen, changed }))
}

fn view(network: &Network, account: AccountStanding) -> AccountView {
    let (mined, balance_wei) = account.chain.map(|it| (it.mined, it.balance_wei)).unzip();
    AccountView {
        network: network.to_string(),
        address: account.address,
        has_key: account.has_key,
        next_nonce: account.next_nonce,
        mined,
        balance_wei,
        frozen: account.frozen_reason.is_some(),
        frozen_reason: account.frozen_reason,
    }
}

impl From<AccountNote> for NoteView {
    fn from(note: AccountNote) -> Self {
        let kind = if note.frozen { "frozen" } else { "unfrozen" };
        Self { at: time(note.at), kind, reason: note.reason, by: note.by }
    }
}

fn names(path: AccountPath) -> Result<(Network, String), Problem> {
    let Ok(Path((network, address))) = path else { return Err(unknown()) };
    Ok((network.parse().map_err(|_| unknown())?, address))
}

fn chain_of<'a>(shared: &'a Shared, network: &Network) -> Result<&'a EvmChain, Problem> {
    shared.api.chains.get(network).map(AsRef::as_ref).ok_or_else(unknown)
}

fn problem(error: AccountError) -> Problem {
    match error {
        AccountError::Unknown(_) => unknown(),
        AccountError::Nodes(error) => Problem::unavailable(format!(
            "The nodes cannot say how far the chain is, so nothing was changed: {error}"
        )),
        AccountError::Store(error) => error.into(),
    }
}

fn unknown() -> Problem {
    Problem::new(
        ProblemKind::NotFound,
        "An account is named by its network and its address, such as eip155:1 and 0x…, and was \
         configured or used before.",
    )
}
