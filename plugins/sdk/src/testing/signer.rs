//! The signer of a test: it keeps to the rules of the contract, and its signatures are fakes.

use std::collections::{BTreeMap, VecDeque};

use crate::signer::{PaymentTerms, SignError, SignedTransaction, Transaction};

/// What a handler asked the signer for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignRequest {
    /// The fields that it proposed.
    pub transaction: Transaction,
    /// Whether it was to take the place of the last one.
    pub replacement: bool,
}

#[derive(Debug, Default)]
pub(super) struct FakeSigner {
    pub(super) terms: BTreeMap<(String, String), PaymentTerms>,
    pub(super) signed: Option<SignedTransaction>,
    pub(super) errors: VecDeque<SignError>,
    pub(super) requests: Vec<SignRequest>,
}

impl FakeSigner {
    pub(super) fn terms(&self, network: &str, asset: &str) -> Result<PaymentTerms, SignError> {
        self.terms
            .get(&(network.to_string(), asset.to_string()))
            .cloned()
            .ok_or_else(|| SignError::Denied(format!("{asset} on {network}")))
    }

    pub(super) fn sign(
        &mut self,
        transaction: &Transaction,
    ) -> Result<SignedTransaction, SignError> {
        self.requests.push(SignRequest { transaction: transaction.clone(), replacement: false });
        if let Some(error) = self.errors.pop_front() {
            return Err(error);
        }
        // As the host does it: the first signature stands, whatever is asked now.
        let signed = self.signed.clone().unwrap_or_else(|| self.make(transaction));
        self.signed = Some(signed.clone());
        Ok(signed)
    }

    pub(super) fn replace(
        &mut self,
        transaction: &Transaction,
    ) -> Result<SignedTransaction, SignError> {
        self.requests.push(SignRequest { transaction: transaction.clone(), replacement: true });
        if let Some(error) = self.errors.pop_front() {
            return Err(error);
        }
        let Some(old) = &self.signed else {
            return Err(SignError::Refused("nothing was signed that could be replaced".into()));
        };
        let raised = |new: &str, old: &str| {
            let (Ok(new), Ok(old)) = (new.parse::<u128>(), old.parse::<u128>()) else {
                return false;
            };
            new >= (old * 1125).div_ceil(1000).max(old + 1)
        };
        if !raised(&transaction.max_fee_per_gas, &old.max_fee_per_gas)
            || !raised(&transaction.max_priority_fee_per_gas, &old.max_priority_fee_per_gas)
        {
            return Err(SignError::Refused("a replacement must raise both fees by 12.5 %".into()));
        }
        let signed = self.make(transaction);
        self.signed = Some(signed.clone());
        Ok(signed)
    }

    /// No signature: the fields as text, and a hash that differs where the fields do.
    fn make(&self, transaction: &Transaction) -> SignedTransaction {
        let raw = format!("{transaction:?}").into_bytes();
        let digest = raw.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        SignedTransaction {
            raw,
            hash: format!("0x{:0>64}", format!("{digest:016x}")),
            nonce: self.signed.as_ref().map_or(7, |it| it.nonce),
            gas_limit: transaction.gas_limit,
            max_fee_per_gas: transaction.max_fee_per_gas.clone(),
            max_priority_fee_per_gas: transaction.max_priority_fee_per_gas.clone(),
        }
    }
}
