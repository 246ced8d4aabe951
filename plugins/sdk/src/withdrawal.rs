//! The payload of every event about a withdrawal.

use serde::{Deserialize, Serialize};

/// A withdrawal as its events carry it: how it stood when the event was written.
///
/// ```
/// # use tidegate_plugin::{Event, Withdrawal};
/// # fn look(event: &Event) -> Result<(), tidegate_plugin::Failure> {
/// let withdrawal: Withdrawal = event.payload()?;
/// tidegate_plugin::info!("{} {}", withdrawal.amount, withdrawal.asset);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// The withdrawal's UUID.
    pub withdrawal_id: String,
    /// Whose withdrawal it is.
    pub user_id: String,
    /// What is withdrawn, for example `ETH` or `USDC`.
    pub asset: String,
    /// Where it goes, as CAIP-2 has it: `eip155:1`.
    pub network: String,
    /// An exact decimal: `12.50`. Never make a floating-point number of it.
    pub amount: String,
    /// Who receives it.
    pub destination_address: String,
    /// `REQUESTED`, `BROADCASTED`, `CONFIRMED` or `FAILED`.
    pub status: String,
    /// The transaction that carries it out, once one was signed.
    pub tx_hash: Option<String>,
    /// Why it failed.
    pub failure_reason: Option<String>,
    /// RFC 3339, like the two below.
    pub requested_at: String,
    /// When the transaction was handed to the network.
    pub broadcasted_at: Option<String>,
    /// When the network's evidence was final.
    pub confirmed_at: Option<String>,
}
