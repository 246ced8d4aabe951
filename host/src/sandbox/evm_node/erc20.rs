//! The little of ERC-20 that the built-in tokens understand.

use alloy_primitives::{Address, B256, U256, b256};
use serde::{Deserialize, Serialize};

/// `keccak256("Transfer(address,address,uint256)")`.
pub(super) const TRANSFER_TOPIC: B256 =
    b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
const BALANCE_OF: [u8; 4] = [0x70, 0xa0, 0x82, 0x31];
const DECIMALS: [u8; 4] = [0x31, 0x3c, 0xe5, 0x67];
const SYMBOL: [u8; 4] = [0x95, 0xd8, 0x9b, 0x41];

/// What a token's `transfer` does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenBehaviour {
    #[default]
    Standard,
    /// It answers `false` where the standard says that it reverts: always, and moves nothing.
    ReturnsFalse,
    /// So many hundredths of a percent of each transfer go to the token's own contract.
    FeeOnTransfer { basis_points: u16 },
    /// It reverts.
    Paused,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Transfer { to: Address, amount: U256 },
    BalanceOf { account: Address },
    Decimals,
    Symbol,
}

/// Longer data than the arguments need is taken, as Solidity's contracts do.
pub(super) fn decode(data: &[u8]) -> Option<Call> {
    let (selector, arguments) = data.split_first_chunk::<4>()?;
    match *selector {
        TRANSFER => {
            Some(Call::Transfer { to: address(arguments, 0)?, amount: word(arguments, 1)? })
        }
        BALANCE_OF => Some(Call::BalanceOf { account: address(arguments, 0)? }),
        DECIMALS => Some(Call::Decimals),
        SYMBOL => Some(Call::Symbol),
        _ => None,
    }
}

fn word(arguments: &[u8], index: usize) -> Option<U256> {
    arguments.get(32 * index..32 * (index + 1)).map(U256::from_be_slice)
}

fn address(arguments: &[u8], index: usize) -> Option<Address> {
    let word = arguments.get(32 * index..32 * (index + 1))?;
    word[..12].iter().all(|byte| *byte == 0).then(|| Address::from_slice(&word[12..]))
}

/// A `string` as a function returns it.
pub(super) fn encode_string(text: &str) -> Vec<u8> {
    let padded = text.len().next_multiple_of(32);
    let mut bytes = U256::from(32).to_be_bytes::<32>().to_vec();
    bytes.extend(U256::from(text.len()).to_be_bytes::<32>());
    bytes.extend(text.as_bytes());
    bytes.resize(64 + padded, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{hex, keccak256};

    use super::*;

    #[test]
    fn selectors_and_the_topic_are_the_hashes_of_their_signatures() {
        for (selector, signature) in [
            (TRANSFER, "transfer(address,uint256)"),
            (BALANCE_OF, "balanceOf(address)"),
            (DECIMALS, "decimals()"),
            (SYMBOL, "symbol()"),
        ] {
            assert_eq!(selector, keccak256(signature)[..4], "{signature}");
        }
        assert_eq!(TRANSFER_TOPIC, keccak256("Transfer(address,address,uint256)"));
    }

    #[test]
    fn malformed_calls_are_no_calls() {
        let mut data = TRANSFER.to_vec();
        assert_eq!(decode(&data), None);
        data.extend([0; 64]);
        assert!(decode(&data).is_some());
        data[4] = 1;
        assert_eq!(decode(&data), None, "an address has twelve zero bytes before it");
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn a_string_is_encoded_as_solidity_does() {
        let expected =
            [format!("{:0>64}", "20"), format!("{:0>64}", "4"), format!("{:0<64}", "55534443")];
        assert_eq!(hex::encode(encode_string("USDC")), expected.concat());
    }
}
