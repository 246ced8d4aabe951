//! Addresses and their checksum (EIP-55), and the names of networks (CAIP-2).

use sha3::{Digest, Keccak256};

/// What is wrong with an address, in words for whoever typed it.
pub(crate) fn check(address: &str) -> Result<(), String> {
    let digits = address
        .strip_prefix("0x")
        .filter(|digits| digits.len() == 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .ok_or("an address is 0x and 40 hexadecimal digits")?;
    if digits.bytes().all(|byte| byte == b'0') {
        return Err("the zero address cannot receive anything".into());
    }
    let is_mixed = digits.bytes().any(|byte| byte.is_ascii_lowercase())
        && digits.bytes().any(|byte| byte.is_ascii_uppercase());
    // Of one case it carries no checksum, and none is asked for.
    if is_mixed && digits != checksummed(digits) {
        return Err("the checksum of the address does not fit (EIP-55): a digit is mistyped".into());
    }
    Ok(())
}

/// A digit is upper-case where the same place of the hash is 8 or more.
fn checksummed(digits: &str) -> String {
    let digits = digits.to_ascii_lowercase();
    let hash = Keccak256::digest(digits.as_bytes());
    digits
        .chars()
        .zip(hash.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]))
        .map(|(digit, nibble)| if nibble >= 8 { digit.to_ascii_uppercase() } else { digit })
        .collect()
}

/// The bytes of an address of either case.
pub(crate) fn bytes_of(address: &str) -> Option<[u8; 20]> {
    let digits = address.strip_prefix("0x").filter(|digits| digits.len() == 40)?;
    let mut bytes = [0; 20];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The chain's number: 1 for `eip155:1`.
pub(crate) fn chain_id_of(network: &str) -> Option<u64> {
    let digits = network.strip_prefix("eip155:")?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_eip_55_pass() {
        for address in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x27b1fdb04752bbc536007a920d24acb045561c26",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(check(address), Ok(()), "{address}");
        }
    }

    #[test]
    fn a_changed_digit_or_case_is_found() {
        for address in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1Beaed",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAee",
        ] {
            assert!(check(address).is_err_and(|text| text.contains("EIP-55")), "{address}");
        }
    }

    #[test]
    fn networks_have_plain_numbers() {
        for (network, chain_id) in [
            ("eip155:1", Some(1)),
            ("eip155:31337", Some(31337)),
            ("eip155:0", None),
            ("eip155:01", None),
            ("eip155:+1", None),
            ("eip155:", None),
            ("eip155:99999999999999999999", None),
            ("solana:1", None),
            ("EIP155:1", None),
        ] {
            assert_eq!(chain_id_of(network), chain_id, "{network}");
        }
    }
}
