//! What a caller asks for.

use serde_json::{Value, json};

/// The stand-in chain's name, and anvil's.
pub const NETWORK: &str = "eip155:31337";
/// An address with a checksum.
pub const PAYEE: &str = "0x52908400098527886E0F7030069857D2E4169EE7";

/// A withdrawal, before it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub key: String,
    pub user: String,
    pub asset: String,
    pub amount: String,
    pub destination: String,
}

impl Order {
    /// An order that differs from all others in key, amount and destination, so that each
    /// transfer says whose it is.
    #[must_use]
    pub fn number(number: u32) -> Self {
        Self {
            key: format!("order-{number}"),
            user: format!("user-{}", number % 7),
            asset: "ETH".into(),
            // Ends in a one, for the product drops zeros there.
            amount: format!("0.{number:04}1"),
            destination: format!("0x{:040x}", 0xa000_0000_u64 + u64::from(number)),
        }
    }

    #[must_use]
    pub fn of(mut self, asset: &str) -> Self {
        self.asset = asset.into();
        self
    }

    #[must_use]
    pub fn body(&self) -> Value {
        json!({
            "user_id": self.user,
            "asset": self.asset,
            "network": NETWORK,
            "amount": self.amount,
            "destination_address": self.destination,
        })
    }

    /// The amount in base units, worked out with nothing of the product.
    #[must_use]
    pub fn units(&self, decimals: usize) -> String {
        units(&self.amount, decimals)
    }
}

/// A decimal in base units.
///
/// # Panics
/// It has more places than that.
#[must_use]
pub fn units(amount: &str, decimals: usize) -> String {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    assert!(fraction.len() <= decimals, "{amount} has more than {decimals} places");
    let digits = format!("{whole}{fraction:0<decimals$}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { "0".into() } else { digits.into() }
}

#[cfg(test)]
mod tests {
    use super::units;

    #[test]
    fn base_units_are_the_decimal_without_its_point() {
        assert_eq!(units("1.5", 18), "1500000000000000000");
        assert_eq!(units("0.0012", 6), "1200");
        assert_eq!(units("12", 0), "12");
        assert_eq!(units("0", 18), "0");
    }
}
