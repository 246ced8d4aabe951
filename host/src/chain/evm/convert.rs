//! Between the domain's texts and numbers and those of the chain. Everything is exact: what does
//! not fit is none, never cut.

use alloy_primitives::{Address, B256, U256};

use crate::domain::BigUint;

/// `0x` and 40 hexadecimal digits, in any case.
pub(super) fn parse_address(text: &str) -> Option<Address> {
    let well_formed = text.len() == 42 && text.starts_with("0x");
    well_formed.then(|| text.parse().ok()).flatten()
}

/// `0x` and 64 hexadecimal digits.
pub(super) fn parse_hash(text: &str) -> Option<B256> {
    let well_formed = text.len() == 66 && text.starts_with("0x");
    well_formed.then(|| text.parse().ok()).flatten()
}

/// Decimal digits only, without sign, space or leading zero: one text a number.
pub(super) fn parse_decimal(text: &str) -> Option<U256> {
    // 2²⁵⁶ has 78 digits.
    let well_formed = (1..=78).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text == "0" || !text.starts_with('0'));
    well_formed.then(|| U256::from_str_radix(text, 10).ok()).flatten()
}

/// The form in which accounts are stored and compared: `0x` and lower-case hexadecimal.
pub(super) fn stored_address(address: Address) -> String {
    format!("{address:#x}")
}

pub(super) fn biguint(value: U256) -> BigUint {
    BigUint::from_bytes_be(&value.to_be_bytes::<32>())
}

pub(super) fn uint256(value: &BigUint) -> Option<U256> {
    U256::try_from_be_slice(&value.to_bytes_be())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_one_form() {
        for bad in ["", "00", "01", "-1", "+1", "1.0", "1e3", "0x1", " 1", "١", &"9".repeat(78)] {
            assert_eq!(parse_decimal(bad), None, "{bad:?}");
        }
        assert_eq!(parse_decimal("0"), Some(U256::ZERO));
        assert_eq!(parse_decimal(&U256::MAX.to_string()), Some(U256::MAX));
        for bad in ["", "0x", &"a".repeat(40), &format!("0x{}", "a".repeat(39)), "0xé"] {
            assert_eq!(parse_address(bad), None, "{bad:?}");
        }
        assert!(parse_address(&format!("0x{}", "aB".repeat(20))).is_some());
        assert_eq!(parse_hash(&"a".repeat(66)), None);
    }

    #[test]
    fn large_numbers_go_there_and_back_or_nowhere() {
        for value in [U256::ZERO, U256::from(1), U256::MAX] {
            assert_eq!(uint256(&biguint(value)), Some(value));
        }
        assert_eq!(uint256(&(biguint(U256::MAX) + 1_u8)), None);
    }
}
