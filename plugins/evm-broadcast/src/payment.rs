//! The fields of the transaction: native coin, or an ERC-20's `transfer`.

use ruint::aliases::U256;
use serde_json::json;
use tidegate_plugin::{
    Failure, Withdrawal, defer, info, reject, retry,
    signer::{PaymentTerms, Transaction},
};

use crate::{
    WAIT, address,
    amount::base_units,
    answers::{Meaning, meaning_of},
    fees::Fees,
    rpc::{Nodes, hex, quantity},
};

/// The first four bytes of the hash of `transfer(address,uint256)`.
const TRANSFER_SELECTOR: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// What a transfer to an account without code costs, exactly: no margin is needed.
const PLAIN_TRANSFER_GAS: u64 = 21_000;

/// Who is paid what, without gas and fees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    chain_id: u64,
    pub(crate) account: String,
    to: String,
    value: U256,
    data: Vec<u8>,
}

impl Payment {
    pub(crate) fn new(withdrawal: &Withdrawal, terms: PaymentTerms) -> Result<Self, Failure> {
        let units = base_units(&withdrawal.amount, terms.decimals).map_err(reject)?;
        let destination = &withdrawal.destination_address;
        address::check(destination).map_err(reject)?;
        let PaymentTerms { chain_id, account, contract, decimals: _ } = terms;
        Ok(match contract {
            None => {
                Self { chain_id, account, to: destination.clone(), value: units, data: Vec::new() }
            }
            Some(contract) => {
                let data = transfer_call(destination, units)
                    .ok_or_else(|| reject("the destination is no address"))?;
                Self { chain_id, account, to: contract, value: U256::ZERO, data }
            }
        })
    }

    /// The node's estimate and the operator's margin.
    pub(crate) fn gas_limit(&self, nodes: &Nodes, margin_percent: u64) -> Result<u64, Failure> {
        let call = json!([{
            "from": self.account,
            "to": self.to,
            "value": format!("0x{:x}", self.value),
            "data": hex(&self.data),
        }]);
        let answer = nodes.ask("eth_estimateGas", &call).map_err(|text| {
            // An account without funds is no fault of the event's.
            if meaning_of(&text) == Some(Meaning::Wait) {
                info!("waiting: {text}");
                defer(WAIT)
            } else {
                retry(text)
            }
        })?;
        let gas = quantity(&answer)
            .and_then(|gas| u64::try_from(gas).ok())
            .ok_or_else(|| retry("eth_estimateGas: the answer is no number"))?;
        if gas == PLAIN_TRANSFER_GAS {
            return Ok(gas);
        }
        Ok(gas.saturating_add(gas.saturating_mul(margin_percent) / 100))
    }

    pub(crate) fn transaction(&self, gas_limit: u64, fees: Fees) -> Transaction {
        Transaction {
            chain_id: self.chain_id,
            to: self.to.clone(),
            value: self.value.to_string(),
            data: self.data.clone(),
            gas_limit,
            max_fee_per_gas: fees.max_fee.to_string(),
            max_priority_fee_per_gas: fees.priority_fee.to_string(),
        }
    }
}

/// Two words of 32 bytes after the selector: the address, padded on the left, and the amount.
fn transfer_call(destination: &str, units: U256) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(68);
    data.extend(TRANSFER_SELECTOR);
    data.extend([0; 12]);
    data.extend(address::bytes_of(destination)?);
    data.extend(units.to_be_bytes::<32>());
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_encoded_as_the_abi_has_it() {
        let data =
            transfer_call("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", U256::from(1_000_000));
        assert_eq!(
            hex(&data.unwrap()),
            "0xa9059cbb\
             0000000000000000000000005aaeb6053f3e94c9b9a09f33669435e7ef1beaed\
             00000000000000000000000000000000000000000000000000000000000f4240"
        );
    }

    #[test]
    fn the_selector_is_that_of_transfer() {
        use sha3::Digest;
        let hash = sha3::Keccak256::digest(b"transfer(address,uint256)");
        assert_eq!(hash[..4], TRANSFER_SELECTOR);
    }
}
