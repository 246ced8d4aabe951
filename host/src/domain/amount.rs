//! Exact decimal amounts of an asset. Never a float.

use std::fmt;
use std::str::FromStr;

use bigdecimal::BigDecimal;
use bigdecimal::num_bigint::{BigUint, Sign};

/// A positive, exact decimal, such as `1.5`. How many decimals are allowed is the asset's matter
/// ([`Amount::base_units`]).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(BigDecimal);

/// Why a text is no amount, or an amount none of its asset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("an amount is written with digits and at most one decimal point, such as \"1.5\"")]
    Malformed,
    #[error("an amount has at most {} digits", Amount::DIGITS_MAX)]
    TooLong,
    #[error("an amount is greater than zero")]
    NotPositive,
    #[error("the asset has {scale} decimals, the amount has more")]
    TooManyDecimals { scale: u8 },
}

impl Amount {
    /// 2²⁵⁶ has 78 digits: more than any chain can pay.
    pub const DIGITS_MAX: usize = 78;

    /// The amount in the asset's smallest unit: `1.5` with a scale of 18 is 1.5 × 10¹⁸.
    ///
    /// # Errors
    /// [`AmountError::TooManyDecimals`]: it is never rounded.
    pub fn base_units(&self, scale: u8) -> Result<BigUint, AmountError> {
        let too_many = AmountError::TooManyDecimals { scale };
        let scaled = self.0.with_scale(i64::from(scale));
        if scaled != self.0 {
            return Err(too_many);
        }
        let (digits, _) = scaled.into_bigint_and_exponent();
        digits.to_biguint().ok_or(AmountError::NotPositive)
    }

    /// The exact sum. It may have more digits than an amount that is read.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self((&self.0 + &other.0).normalized())
    }

    /// A sum that a database made; none for what is no positive decimal.
    #[must_use]
    pub fn of_sum(text: &str) -> Option<Self> {
        let value = BigDecimal::from_str(text).ok()?.normalized();
        (value.sign() == Sign::Plus).then_some(Self(value))
    }

    /// The inverse of [`Amount::base_units`]; none for zero.
    #[must_use]
    pub fn from_base_units(units: &BigUint, scale: u8) -> Option<Self> {
        let positive = *units != BigUint::ZERO;
        positive.then(|| Self(BigDecimal::new(units.clone().into(), i64::from(scale)).normalized()))
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Takes `digits[.digits]` only: no sign, exponent, space or grouping, so that a text has one
    /// meaning in every system that it reaches.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !fraction.is_none_or(all_digits) {
            return Err(AmountError::Malformed);
        }
        if whole.len() + fraction.map_or(0, str::len) > Self::DIGITS_MAX {
            return Err(AmountError::TooLong);
        }
        let value = BigDecimal::from_str(text).map_err(|_| AmountError::Malformed)?.normalized();
        if value.sign() != Sign::Plus {
            return Err(AmountError::NotPositive);
        }
        Ok(Self(value))
    }
}

/// The shortest exact form, without exponent: `1.5`, `1000`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_plain_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_plain_positive_decimals_are_amounts() {
        for good in ["1", "0.000000000000000001", "1.50", "007", &"9".repeat(78)] {
            assert!(good.parse::<Amount>().is_ok(), "{good}");
        }
        let cases = [
            ("", AmountError::Malformed),
            (".5", AmountError::Malformed),
            ("1.", AmountError::Malformed),
            ("1e3", AmountError::Malformed),
            ("-1", AmountError::Malformed),
            ("+1", AmountError::Malformed),
            ("1,5", AmountError::Malformed),
            (" 1", AmountError::Malformed),
            ("1.2.3", AmountError::Malformed),
            ("NaN", AmountError::Malformed),
            ("١", AmountError::Malformed),
            ("0", AmountError::NotPositive),
            ("0.000", AmountError::NotPositive),
            (&"9".repeat(79), AmountError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Amount>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_amount_finer_than_its_asset_is_refused_not_rounded() {
        let amount: Amount = "1.0000001".parse().unwrap();
        assert_eq!(amount.base_units(6), Err(AmountError::TooManyDecimals { scale: 6 }));
        assert_eq!(amount.base_units(7), Ok(BigUint::from(10_000_001_u32)));
    }

    #[test]
    fn large_amounts_are_shown_without_exponent() {
        let amount: Amount = "1000000000000000000000000000000".parse().unwrap();
        assert_eq!(amount.to_string(), "1000000000000000000000000000000");
        assert_eq!("1.50".parse::<Amount>().unwrap().to_string(), "1.5");
    }

    proptest! {
        #[test]
        fn base_units_and_back_is_the_same_amount(units in 1_u128.., scale in 0_u8..=30) {
            let units = BigUint::from(units);
            let amount = Amount::from_base_units(&units, scale).unwrap();
            prop_assert_eq!(amount.base_units(scale).unwrap(), units);
            prop_assert_eq!(amount.to_string().parse::<Amount>().unwrap(), amount);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,100}") {
            let _ = text.parse::<Amount>();
        }
    }
}
