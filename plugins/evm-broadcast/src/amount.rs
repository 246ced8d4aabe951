//! Amounts: from an exact decimal to base units, in whole numbers only.

use ruint::aliases::U256;

/// `1.5` with 18 decimals is 1,500,000,000,000,000,000 base units.
pub(crate) fn base_units(amount: &str, decimals: u8) -> Result<U256, String> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let ends_in_dot = amount.ends_with('.');
    if whole.is_empty() || ends_in_dot || !is_number(whole) || !is_number(fraction) {
        return Err(format!("the amount {amount:?} is not a decimal number"));
    }
    // Zeros at the end change nothing, so they may be more than the asset has decimals.
    let fraction = fraction.trim_end_matches('0');
    let decimals = usize::from(decimals);
    if fraction.len() > decimals {
        return Err(format!("the amount {amount} has more than {decimals} decimals"));
    }
    let digits = format!("{whole}{fraction:0<decimals$}");
    let units = U256::from_str_radix(&digits, 10)
        .map_err(|_| format!("the amount {amount} is larger than any balance can be"))?;
    if units.is_zero() {
        return Err("the amount is zero".into());
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_whole_numbers() {
        for (amount, decimals, units) in [
            ("1", 18, "1000000000000000000"),
            ("1.5", 18, "1500000000000000000"),
            ("0.000000000000000001", 18, "1"),
            ("12.50", 6, "12500000"),
            ("12.5000000000", 6, "12500000"),
            ("007", 0, "7"),
            ("0.1", 1, "1"),
            (
                "115792089237316195423570985008687907853269984665640564039457.584007913129639935",
                18,
                "115792089237316195423570985008687907853269984665640564039457584007913129639935",
            ),
        ] {
            assert_eq!(base_units(amount, decimals).map(|it| it.to_string()), Ok(units.into()));
        }
    }

    #[test]
    fn what_is_no_exact_amount_is_refused() {
        for (amount, decimals) in [
            ("0.0000001", 6),
            ("1.5", 0),
            ("0", 18),
            ("0.000", 2),
            ("", 18),
            (".5", 18),
            ("1.", 18),
            ("-1", 18),
            ("+1", 18),
            ("1e3", 18),
            ("1,5", 18),
            ("1.2.3", 18),
            (" 1", 18),
            ("0x10", 18),
            ("NaN", 18),
            ("١", 18),
            ("115792089237316195423570985008687907853269984665640564039457.584007913129639936", 18),
        ] {
            assert!(base_units(amount, decimals).is_err(), "{amount} {decimals}");
        }
    }
}
