//! What signing a payment depends on, apart from how it is read. The same for both databases.

use std::collections::HashMap;

use super::row::{self, Columns};
use super::writes::storable;
use super::{Account, SignClosing, SignPayment, Signing, StoreError};
use crate::domain::{
    BigUint, NewSignedTransaction, OutboxEvent, Payment, SignedTransaction, SigningRefusal,
    SigningSituation, Timestamp, TransactionKind, WithdrawalId, WithdrawalStatus, event_types,
};

pub(super) const DOING: &str = "sign a payment";

/// How far back `fees_of_the_day` looks.
pub(super) const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// The account and nonce of a withdrawal, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) account: String,
    pub(super) nonce: u64,
}

/// Whether anything has to be signed at all: the payment, or the answer.
///
/// # Errors
/// The answer, where nothing has to be signed. Boxed, for it carries a transaction.
pub(super) fn check(
    request: &SignPayment,
    event: &OutboxEvent,
    payment: Option<Payment>,
) -> Result<Payment, Box<Signing>> {
    let not_live = |why: String| Err(Box::new(Signing::NotLive(why)));
    if event.event_type.as_str() != event_types::BLOCKCHAIN_BROADCAST_REQUESTED {
        return not_live(format!("an event of type {} signs nothing", event.event_type));
    }
    if event.aggregate.as_withdrawal() != Some(request.withdrawal) {
        return not_live("the event is about something else".to_owned());
    }
    let Some(payment) = payment else {
        return not_live(format!("there is no withdrawal {}", request.withdrawal));
    };
    match payment.withdrawal.state.status() {
        WithdrawalStatus::Requested | WithdrawalStatus::Broadcasted => {}
        status @ (WithdrawalStatus::Confirmed | WithdrawalStatus::Failed) => {
            return not_live(format!("the withdrawal is {status}"));
        }
    }
    match payment.transactions.last() {
        Some(newest) if newest.chain_id != request.chain_id => {
            Err(Box::new(Signing::Refused(SigningRefusal::Refused {
                rule: "chain",
                reason: format!("it was first signed for chain {}", newest.chain_id),
            })))
        }
        Some(newest) if !request.replace => Err(Box::new(Signing::Stored(newest.clone()))),
        Some(_) if payment.closing.is_some() => {
            Err(Box::new(Signing::Refused(SigningRefusal::Refused {
                rule: "nonce.closed",
                reason: "the payment was given up".to_owned(),
            })))
        }
        Some(_) | None => Ok(payment),
    }
}

/// Whether a closing transaction is to be signed: the payment and its nonce, or the answer. One that was
/// signed after `since` is given as it is.
///
/// # Errors
/// The answer, where nothing has to be signed. Boxed, for it carries a transaction.
pub(super) fn check_closing(
    request: &SignClosing,
    payment: Option<Payment>,
    since: Timestamp,
) -> Result<(Payment, Bound), Box<Signing>> {
    let not_live = |why: String| Err(Box::new(Signing::NotLive(why)));
    let Some(payment) = payment else {
        return not_live(format!("there is no withdrawal {}", request.withdrawal));
    };
    match payment.withdrawal.state.status() {
        WithdrawalStatus::Requested | WithdrawalStatus::Broadcasted => {}
        status @ (WithdrawalStatus::Confirmed | WithdrawalStatus::Failed) => {
            return not_live(format!("the withdrawal is {status}"));
        }
    }
    if payment.closing.is_none() {
        return not_live("the payment was not given up".to_owned());
    }
    let (Some(bound), Some(newest)) = (bound_before(&payment), payment.transactions.last()) else {
        return not_live("nothing was signed, so there is nothing to close".to_owned());
    };
    if newest.chain_id != request.chain_id {
        return not_live(format!("it was signed for chain {}", newest.chain_id));
    }
    if newest.signed.kind == TransactionKind::Closing && newest.signed_at > since {
        return Err(Box::new(Signing::Stored(newest.clone())));
    }
    Ok((payment, bound))
}

/// What the first signature bound.
pub(super) fn bound_before(payment: &Payment) -> Option<Bound> {
    payment.transactions.first().map(|t| Bound { account: t.account.clone(), nonce: t.nonce })
}

/// Whether the account may sign now. `found` was read under a lock.
pub(super) fn check_account(address: &str, found: Option<&Account>) -> Result<(), SigningRefusal> {
    let wait = |rule, reason| Err(SigningRefusal::Wait { rule, reason });
    match found {
        None => wait("account.unknown", format!("the account {address} is not registered")),
        Some(Account { frozen_reason: Some(reason), .. }) => {
            wait("account.frozen", format!("the account {address} is frozen: {reason}"))
        }
        Some(_) => Ok(()),
    }
}

/// What the rules may look at. `open` are transactions of the account's other payments that are
/// not final, `of_the_day` all of its last 24 hours. Of one withdrawal's transactions at most one
/// is mined, so the dearest counts.
pub(super) fn situation<R: Columns>(
    payment: Payment,
    nonce: u64,
    open: &[R],
    of_the_day: &[R],
) -> Result<SigningSituation, StoreError> {
    let mut native = HashMap::new();
    let mut asset = HashMap::new();
    let mut fees = HashMap::new();
    let read =
        |row: &R, column: &str| row::field("signed_transactions", row.parse::<BigUint>(column));
    let owner = |row: &R| {
        row::field("signed_transactions", row.uuid("withdrawal_id")).map(WithdrawalId::from_uuid)
    };
    for transaction in open {
        let owner = owner(transaction)?;
        dearest(&mut native, owner, read(transaction, "native_cost_max")?);
        if row::field("withdrawals", transaction.flag("same_asset"))? {
            dearest(&mut asset, owner, read(transaction, "asset_units")?);
        }
    }
    for transaction in of_the_day {
        let gas: u64 = row::field("signed_transactions", transaction.count("gas_limit"))?;
        let price = read(transaction, "fee_max_per_gas")?;
        dearest(&mut fees, owner(transaction)?, price * BigUint::from(gas));
    }
    let sum = |of: HashMap<WithdrawalId, BigUint>| of.into_values().sum::<BigUint>();
    Ok(SigningSituation {
        withdrawal: payment.withdrawal,
        earlier: payment.transactions,
        nonce,
        in_flight_native: sum(native),
        in_flight_asset: sum(asset),
        fees_of_the_day: sum(fees),
    })
}

fn dearest(of: &mut HashMap<WithdrawalId, BigUint>, owner: WithdrawalId, value: BigUint) {
    let most = of.entry(owner).or_insert(BigUint::ZERO);
    if value > *most {
        *most = value;
    }
}

/// The withdrawal that something is signed for, and on which chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Under {
    pub(super) withdrawal: WithdrawalId,
    pub(super) chain_id: u64,
}

impl From<&SignPayment> for Under {
    fn from(request: &SignPayment) -> Self {
        Self { withdrawal: request.withdrawal, chain_id: request.chain_id }
    }
}

/// What is kept of a signature.
pub(super) fn kept(
    under: Under,
    bound: Bound,
    mut signed: NewSignedTransaction,
    signed_at: Timestamp,
) -> SignedTransaction {
    signed.hash = storable(&signed.hash);
    SignedTransaction {
        withdrawal: under.withdrawal,
        chain_id: under.chain_id,
        account: bound.account,
        nonce: bound.nonce,
        signed,
        signed_at,
    }
}
