//! What the tests of this folder share: withdrawals, a chain, and a `ChainStore` in memory that
//! keeps its promises.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use async_trait::async_trait;
use chrono::Utc;
use tokio::sync::Mutex;

use super::super::{
    AccountConfig, Asset, Chains, FeeCaps, Finality, NetworkConfig, Passphrase, Spread,
    create_keystore,
};
use super::EvmChain;
use super::convert::stored_address;
use crate::domain::{
    BigUint, Closing, EventId, LeaseToken, NewSignedTransaction, Payment, PaymentWatch,
    SignedTransaction, SigningRefusal, SigningSituation, Step, Timestamp, TransactionKind,
    Withdrawal, WithdrawalId, WithdrawalRequest, WithdrawalState, WithdrawalStatus,
};
use crate::store::{
    Account, AccountChange, AccountNote, AccountStore, ChainStore, Conclude, Concluded, LeaseRef,
    SignClosing, SignPayment, Signing, SigningRules, StoreError, StoreFault,
};

pub(super) fn withdrawal_of(
    asset: &str,
    network: &str,
    amount: &str,
    destination: &str,
) -> Withdrawal {
    let request = WithdrawalRequest {
        user_id: "user-1".into(),
        asset: asset.into(),
        network: network.parse().unwrap(),
        amount: amount.parse().unwrap(),
        destination_address: destination.into(),
    };
    Withdrawal::requested(WithdrawalId::generate(), request, Timestamp::UNIX_EPOCH)
}

/// A transaction that was signed before, with these fees: for a unit of gas, and priority.
pub(super) fn earlier(
    withdrawal: WithdrawalId,
    chain_id: u64,
    account: Address,
    nonce: u64,
    fees: (u128, u128),
) -> SignedTransaction {
    let signed = NewSignedTransaction {
        hash: format!("0x{}", "ab".repeat(32)),
        kind: TransactionKind::Payment,
        raw: vec![2],
        gas_limit: 21_000,
        fee_max_per_gas: fees.0,
        priority_fee_max_per_gas: fees.1,
        native_cost_max: BigUint::ZERO,
        asset_units: BigUint::ZERO,
    };
    SignedTransaction {
        withdrawal,
        chain_id,
        account: stored_address(account),
        nonce,
        signed,
        signed_at: Timestamp::UNIX_EPOCH,
    }
}

pub(super) fn a_lease() -> LeaseRef {
    LeaseRef { event: EventId::generate(), token: LeaseToken(1) }
}

/// A configuration with ETH and the token USDT, whose keystore is made on the spot.
pub(super) fn config(
    folder: &Path,
    network: &str,
    urls: &[String],
    contract: &str,
) -> NetworkConfig {
    let keystore = folder.join("key.json");
    let passphrase = Passphrase::new("test".into());
    if !keystore.exists() {
        create_keystore(&keystore, &passphrase).unwrap();
    }
    let usdt = Asset::Erc20 { contract: contract.into(), decimals: 6 };
    NetworkConfig {
        network: network.parse().unwrap(),
        rpc_urls: urls.iter().map(|url| url.parse().unwrap()).collect(),
        ws_urls: Vec::new(),
        quorum: None,
        finality: Finality::Depth,
        depth: 3,
        assets: BTreeMap::from([
            ("ETH".into(), Asset::Native { decimals: 18 }),
            ("USDT".into(), usdt),
        ]),
        accounts: vec![AccountConfig::Keystore { path: keystore, passphrase }],
        spread: Spread::Even,
        in_flight_max: 1_000,
        fees: FeeCaps {
            fee_max_per_gas: 100_000_000_000,
            fee_max_per_transaction: 10_000_000_000_000_000,
            fee_max_per_day: 50_000_000_000_000_000,
            gas_limit_max: 200_000,
        },
        watch_blocks: 10,
        resend_after: Duration::from_secs(30),
        rebroadcast_after: Duration::from_secs(120),
        rpc_timeout: Duration::from_secs(2),
    }
}

pub(super) async fn open(config: NetworkConfig, store: &Arc<FakeStore>) -> Arc<EvmChain> {
    let network = config.network.clone();
    let store: Arc<dyn ChainStore> = Arc::clone(store) as _;
    let chains = Chains::open(vec![config], store).await.unwrap();
    Arc::clone(chains.get(&network).unwrap())
}

#[derive(Default)]
pub(super) struct FakeStore {
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) payments: BTreeMap<WithdrawalId, Payment>,
    pub(super) accounts: BTreeMap<(u64, String), Account>,
    pub(super) concluded: Vec<Conclude>,
    pub(super) requested: Vec<WithdrawalId>,
    pub(super) watches: BTreeMap<WithdrawalId, PaymentWatch>,
    pub(super) unavailable: bool,
}

impl FakeStore {
    pub(super) async fn add(&self, withdrawal: Withdrawal) -> WithdrawalId {
        let id = withdrawal.id;
        let payment = Payment { withdrawal, transactions: Vec::new(), closing: None };
        self.state.lock().await.payments.insert(id, payment);
        id
    }

    /// Gives a payment up, as an operator does.
    pub(super) async fn give_up(&self, id: WithdrawalId) {
        let closing =
            Closing { reason: "a mistake".into(), asked_by: "me".into(), asked_at: Utc::now() };
        self.state.lock().await.payments.get_mut(&id).unwrap().closing = Some(closing);
    }

    pub(super) async fn status(&self, id: WithdrawalId) -> WithdrawalStatus {
        self.state.lock().await.payments[&id].withdrawal.state.status()
    }

    pub(super) async fn transactions(&self, id: WithdrawalId) -> Vec<SignedTransaction> {
        self.state.lock().await.payments[&id].transactions.clone()
    }
}

fn down<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable {
        doing: "be asked",
        fault: StoreFault::Unreachable,
        cause: "a test took it down".into(),
    })
}

fn is_open(payment: &Payment) -> bool {
    match payment.withdrawal.state {
        WithdrawalState::Requested | WithdrawalState::Broadcasted { .. } => true,
        WithdrawalState::Confirmed { .. } | WithdrawalState::Failed { .. } => false,
    }
}

fn situation(state: &State, request: &SignPayment, next_nonce: u64) -> SigningSituation {
    let payment = &state.payments[&request.withdrawal];
    let others = || {
        let all = state.payments.values().filter(|other| is_open(other));
        all.filter(|other| other.withdrawal.id != request.withdrawal)
            .filter_map(|other| other.transactions.last().map(|newest| (other, newest)))
    };
    let asset = &payment.withdrawal.request.asset;
    let same = others().filter(|(other, _)| other.withdrawal.request.asset == *asset);
    let signed = state.payments.values().flat_map(|payment| &payment.transactions);
    SigningSituation {
        withdrawal: payment.withdrawal.clone(),
        earlier: payment.transactions.clone(),
        nonce: payment.transactions.first().map_or(next_nonce, |first| first.nonce),
        in_flight_native: others().map(|(_, newest)| &newest.signed.native_cost_max).sum(),
        in_flight_asset: same.map(|(_, newest)| &newest.signed.asset_units).sum(),
        fees_of_the_day: signed
            .map(|t| BigUint::from(t.signed.gas_limit) * t.signed.fee_max_per_gas)
            .sum(),
    }
}

#[async_trait]
impl AccountStore for FakeStore {
    async fn register_account(
        &self,
        chain_id: u64,
        address: &str,
        chain_nonce: u64,
    ) -> Result<Account, StoreError> {
        let new = Account {
            chain_id,
            address: address.to_owned(),
            next_nonce: chain_nonce,
            frozen_reason: None,
        };
        let mut state = self.state.lock().await;
        Ok(state.accounts.entry((chain_id, address.to_owned())).or_insert(new).clone())
    }

    async fn accounts(&self, chain_id: u64) -> Result<Vec<Account>, StoreError> {
        let state = self.state.lock().await;
        Ok(state.accounts.values().filter(|it| it.chain_id == chain_id).cloned().collect())
    }

    async fn freeze_account(&self, change: AccountChange<'_>) -> Result<Option<bool>, StoreError> {
        let mut state = self.state.lock().await;
        let key = (change.chain_id, change.address.to_owned());
        let Some(account) = state.accounts.get_mut(&key) else { return Ok(None) };
        let changed = account.frozen_reason.is_none();
        account.frozen_reason.get_or_insert_with(|| change.reason.to_owned());
        Ok(Some(changed))
    }

    async fn unfreeze_account(
        &self,
        change: AccountChange<'_>,
        next_nonce: u64,
    ) -> Result<Option<bool>, StoreError> {
        let mut state = self.state.lock().await;
        let key = (change.chain_id, change.address.to_owned());
        let Some(account) = state.accounts.get_mut(&key) else { return Ok(None) };
        account.next_nonce = account.next_nonce.max(next_nonce);
        Ok(Some(account.frozen_reason.take().is_some()))
    }

    async fn account_history(&self, _: u64, _: &str) -> Result<Vec<AccountNote>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl ChainStore for FakeStore {
    async fn payment(&self, withdrawal: WithdrawalId) -> Result<Option<Payment>, StoreError> {
        let state = self.state.lock().await;
        if state.unavailable {
            return down();
        }
        Ok(state.payments.get(&withdrawal).cloned())
    }

    async fn sign_payment(
        &self,
        request: SignPayment,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError> {
        let mut state = self.state.lock().await;
        let Some(payment) = state.payments.get(&request.withdrawal) else {
            return Ok(Signing::NotLive("no such withdrawal".into()));
        };
        if !is_open(payment) {
            return Ok(Signing::NotLive("the withdrawal has ended".into()));
        }
        if let (Some(newest), false) = (payment.transactions.last(), request.replace) {
            return Ok(Signing::Stored(newest.clone()));
        }
        let key = (request.chain_id, request.account.clone());
        let account = state.accounts[&key].clone();
        if let Some(reason) = account.frozen_reason {
            let refusal = SigningRefusal::Wait { rule: "account.frozen", reason };
            return Ok(Signing::Refused(refusal));
        }
        let situation = situation(&state, &request, account.next_nonce);
        let new = match rules.sign(&situation).await {
            Ok(new) => new,
            Err(refusal) => return Ok(Signing::Refused(refusal)),
        };
        let signed = SignedTransaction {
            withdrawal: request.withdrawal,
            chain_id: request.chain_id,
            account: request.account,
            nonce: situation.nonce,
            signed: new,
            signed_at: Utc::now(),
        };
        if situation.earlier.is_empty() {
            state.accounts.get_mut(&key).unwrap().next_nonce += 1;
        }
        let payment = state.payments.get_mut(&request.withdrawal).unwrap();
        payment.transactions.push(signed.clone());
        Ok(Signing::Signed(signed))
    }

    async fn sign_closing(
        &self,
        request: SignClosing,
        rules: &dyn SigningRules,
    ) -> Result<Signing, StoreError> {
        let mut state = self.state.lock().await;
        let payment = &state.payments[&request.withdrawal];
        if payment.closing.is_none() || !is_open(payment) {
            return Ok(Signing::NotLive("it is not given up, or has ended".into()));
        }
        let newest = payment.transactions.last().unwrap().clone();
        let young = Utc::now() - newest.signed_at
            < chrono::TimeDelta::from_std(request.not_within).unwrap();
        if newest.signed.kind == TransactionKind::Closing && young {
            return Ok(Signing::Stored(newest));
        }
        let sign = SignPayment {
            lease: a_lease(),
            withdrawal: request.withdrawal,
            chain_id: request.chain_id,
            account: newest.account.clone(),
            replace: true,
        };
        let new = match rules.sign(&situation(&state, &sign, newest.nonce)).await {
            Ok(new) => new,
            Err(refusal) => return Ok(Signing::Refused(refusal)),
        };
        let signed = SignedTransaction { signed: new, signed_at: Utc::now(), ..newest };
        let payment = state.payments.get_mut(&request.withdrawal).unwrap();
        payment.transactions.push(signed.clone());
        Ok(Signing::Signed(signed))
    }

    async fn watches(
        &self,
        chain_id: u64,
        after: Option<WithdrawalId>,
        limit: u32,
    ) -> Result<Vec<PaymentWatch>, StoreError> {
        let state = self.state.lock().await;
        let watches = state.watches.values().filter(|watch| watch.chain_id == chain_id);
        let behind = watches.filter(|watch| after.is_none_or(|after| watch.withdrawal > after));
        Ok(behind.take(limit as usize).cloned().collect())
    }

    async fn move_watch(&self, watch: &PaymentWatch) -> Result<(), StoreError> {
        self.state.lock().await.watches.insert(watch.withdrawal, watch.clone());
        Ok(())
    }

    async fn end_watches(&self, withdrawals: &[WithdrawalId]) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        state.watches.retain(|id, _| !withdrawals.contains(id));
        Ok(())
    }

    async fn open_payments(
        &self,
        chain_id: u64,
        after: Option<(String, u64)>,
        limit: u32,
    ) -> Result<Vec<Payment>, StoreError> {
        let state = self.state.lock().await;
        if state.unavailable {
            return down();
        }
        let mut found: Vec<((String, u64), Payment)> = state
            .payments
            .values()
            .filter(|payment| is_open(payment))
            .filter_map(|payment| {
                let first = payment.transactions.first()?;
                let here = first.chain_id == chain_id;
                here.then(|| ((first.account.clone(), first.nonce), payment.clone()))
            })
            .filter(|(key, _)| after.as_ref().is_none_or(|after| key > after))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found.truncate(limit as usize);
        Ok(found.into_iter().map(|(_, payment)| payment).collect())
    }

    async fn conclude(&self, request: Conclude) -> Result<Concluded, StoreError> {
        let mut state = self.state.lock().await;
        let Some(payment) = state.payments.get_mut(&request.withdrawal) else {
            return Ok(Concluded::NotFound);
        };
        let mut withdrawal = payment.withdrawal.clone();
        let mut changed = false;
        for transition in &request.transitions {
            match withdrawal.step(transition, Utc::now()) {
                Ok(Step::Changed(next)) => (withdrawal, changed) = (next, true),
                Ok(Step::Unchanged) => {}
                Err(illegal) => return Ok(Concluded::Refused(illegal.to_string())),
            }
        }
        let status = withdrawal.state.status();
        payment.withdrawal = withdrawal;
        match &request.watch {
            Some(watch) => drop(state.watches.insert(watch.withdrawal, watch.clone())),
            None => drop(state.watches.remove(&request.withdrawal)),
        }
        state.concluded.push(request);
        Ok(Concluded::Now { status, changed })
    }

    async fn request_broadcast(
        &self,
        withdrawal: WithdrawalId,
        _not_within: Duration,
    ) -> Result<bool, StoreError> {
        self.state.lock().await.requested.push(withdrawal);
        Ok(true)
    }
}
