//! Payments, what was signed for them, and the accounts that pay.

use super::{Columns, named, one_of, withdrawal};
use crate::domain::{
    BigUint, Closing, NewSignedTransaction, Payment, PaymentWatch, SignedTransaction,
    TransactionKind, WithdrawalId,
};
use crate::store::{Account, AccountNote, StoreError};

pub(in crate::store) fn signed_transaction<R: Columns>(
    row: &R,
) -> Result<SignedTransaction, StoreError> {
    named("signed_transactions", "hash", row, |row| {
        let kind = row.text("kind")?;
        Ok(SignedTransaction {
            withdrawal: WithdrawalId::from_uuid(row.uuid("withdrawal_id")?),
            chain_id: row.count("chain_id")?,
            account: row.text("account")?,
            nonce: row.count("nonce")?,
            signed: NewSignedTransaction {
                hash: row.text("hash")?,
                kind: one_of(&TransactionKind::ALL, TransactionKind::as_str, &kind)?,
                raw: row.bytes("raw")?,
                gas_limit: row.count("gas_limit")?,
                fee_max_per_gas: row.parse("fee_max_per_gas")?,
                priority_fee_max_per_gas: row.parse("priority_fee_max_per_gas")?,
                native_cost_max: row.parse::<BigUint>("native_cost_max")?,
                asset_units: row.parse::<BigUint>("asset_units")?,
            },
            signed_at: row.time("signed_at")?,
        })
    })
}

pub(in crate::store) fn account<R: Columns>(row: &R) -> Result<Account, StoreError> {
    named("chain_accounts", "address", row, |row| {
        Ok(Account {
            chain_id: row.count("chain_id")?,
            address: row.text("address")?,
            next_nonce: row.count("next_nonce")?,
            frozen_reason: row.text_or_null("frozen_reason")?,
        })
    })
}

/// A withdrawal with its closing, and what was signed for it still to come.
pub(in crate::store) fn payment<R: Columns>(row: &R) -> Result<Payment, StoreError> {
    let closing = named("withdrawal_closings", "id", row, |row| {
        let Some(reason) = row.text_or_null("closing_reason")? else { return Ok(None) };
        let (asked_by, asked_at) = (row.text("asked_by")?, row.time("asked_at")?);
        Ok(Some(Closing { reason, asked_by, asked_at }))
    })?;
    Ok(Payment { withdrawal: withdrawal(row)?, transactions: Vec::new(), closing })
}

pub(in crate::store) fn payment_watch<R: Columns>(row: &R) -> Result<PaymentWatch, StoreError> {
    named("payment_watches", "withdrawal_id", row, |row| {
        Ok(PaymentWatch {
            withdrawal: WithdrawalId::from_uuid(row.uuid("withdrawal_id")?),
            chain_id: row.count("chain_id")?,
            tx_hash: row.text("tx_hash")?,
            block_number: row.count("block_number")?,
            block_hash: row.text("block_hash")?,
            until_block: row.count("until_block")?,
        })
    })
}

pub(in crate::store) fn account_note<R: Columns>(row: &R) -> Result<AccountNote, StoreError> {
    named("account_changes", "address", row, |row| {
        Ok(AccountNote {
            frozen: row.text("kind")? == "frozen",
            reason: row.text("reason")?,
            by: row.text("changed_by")?,
            at: row.time("changed_at")?,
        })
    })
}
