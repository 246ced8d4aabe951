//! Builds a withdrawal as an EIP-1559 transaction, has the host sign it, and sends it to the nodes.
//!
//! Nothing here can pay twice: the host allots one nonce to a withdrawal, for ever, and stores what
//! it signed before this plugin sees it. So whatever is unclear is answered by sending the same
//! bytes again, and "nonce too low" proves nothing without a receipt.

mod address;
mod amount;
mod answers;
mod delivery;
mod fees;
mod payment;
mod rpc;
mod settings;

use std::time::Duration;

use answers::Meaning;
use delivery::{Delivery, node_with_receipt, send};
use fees::Fees;
use payment::Payment;
use rpc::Nodes;
use settings::Settings;
use tidegate_plugin::{
    Chain, Event, Failure, Handler, Proposal, Receipt, Withdrawal, defer, done, error, info, retry,
    signer::{self, SignError, SignedTransaction},
};

/// A block or so: what is waited for (funds, room in a pool) comes with blocks or with people.
pub(crate) const WAIT: Duration = Duration::from_secs(5);

struct EvmBroadcast;

tidegate_plugin::export_chain!(EvmBroadcast);

impl Handler for EvmBroadcast {
    fn handle(event: &Event) -> Result<Receipt, Failure> {
        let settings = Settings::load()?;
        let withdrawal: Withdrawal = event.payload()?;
        let nodes = settings.nodes(&withdrawal.network)?;
        let signed = match signer::signed()? {
            // An earlier attempt may have sent it, or not: the same bytes settle that.
            Some(signed) => signed,
            None => sign(&settings, &nodes, &withdrawal)?,
        };
        let delivery = send(&nodes, &signed);
        if delivery.meaning == Meaning::Bump {
            let replacement = replace(&settings, &nodes, &withdrawal, &signed, &delivery)?;
            let delivery = send(&nodes, &replacement);
            return verdict(&nodes, &replacement, delivery);
        }
        verdict(&nodes, &signed, delivery)
    }
}

impl Chain for EvmBroadcast {
    fn validate(proposal: &Proposal) -> Result<(), String> {
        let network = &proposal.network;
        if address::chain_id_of(network).is_none() {
            return Err(format!("{network} is not an EVM network: expected eip155: and a number"));
        }
        if !Settings::load().is_ok_and(|settings| settings.serves(network)) {
            return Err(format!("{network} is not served here"));
        }
        address::check(&proposal.destination)
    }
}

fn sign(
    settings: &Settings,
    nodes: &Nodes,
    withdrawal: &Withdrawal,
) -> Result<SignedTransaction, Failure> {
    let terms = signer::terms(&withdrawal.network, &withdrawal.asset)?;
    let payment = Payment::new(withdrawal, terms)?;
    let fees = Fees::suggested(nodes, settings.priority_fee_min_wei)?;
    let gas_limit = payment.gas_limit(nodes, settings.gas_margin_percent)?;
    Ok(signer::sign(&payment.transaction(gas_limit, fees))?)
}

/// Another transaction at the same nonce, with both fees raised.
fn replace(
    settings: &Settings,
    nodes: &Nodes,
    withdrawal: &Withdrawal,
    old: &SignedTransaction,
    delivery: &Delivery,
) -> Result<SignedTransaction, Failure> {
    let terms = signer::terms(&withdrawal.network, &withdrawal.asset)?;
    let payment = Payment::new(withdrawal, terms)?;
    let fees = fees_of(old)
        .and_then(|old| old.raised(Fees::suggested(nodes, settings.priority_fee_min_wei).ok()))
        .ok_or_else(|| retry("the fees of what was signed cannot be raised"))?;
    info!("raising the fees of {} to {}: {}", old.hash, fees.max_fee, delivery.reason);
    signer::sign_replacement(&payment.transaction(old.gas_limit, fees)).map_err(|error| match error
    {
        // What was signed before may still be mined, so this is no end.
        SignError::Refused(_) | SignError::Denied(_) => retry(error.to_string()),
        SignError::Wait(_) | SignError::Unavailable(_) => error.into(),
    })
}

fn fees_of(signed: &SignedTransaction) -> Option<Fees> {
    Some(Fees {
        max_fee: signed.max_fee_per_gas.parse().ok()?,
        priority_fee: signed.max_priority_fee_per_gas.parse().ok()?,
    })
}

fn verdict(
    nodes: &Nodes,
    signed: &SignedTransaction,
    delivery: Delivery,
) -> Result<Receipt, Failure> {
    let Delivery { meaning, node, reason } = delivery;
    match meaning {
        Meaning::Accepted => Ok(broadcasted(signed, &node)),
        Meaning::Receipt => match node_with_receipt(nodes, &signed.hash) {
            Some(node) => Ok(broadcasted(signed, &node)),
            None => {
                Err(retry(format!("the nonce is used, and no node shows a receipt yet: {reason}")))
            }
        },
        Meaning::Resend => Err(retry(format!("no node has taken it yet: {reason}"))),
        Meaning::Wait => {
            info!("waiting to send {}: {reason}", signed.hash);
            Err(defer(WAIT))
        }
        Meaning::Bump => Err(retry(format!("the fees are still too low: {reason}"))),
        Meaning::Rebuild => Err(retry(format!("no node can take these bytes: {reason}"))),
        Meaning::Freeze => {
            error!("the account or the configuration needs a person: {reason}");
            Err(retry(format!("the account or the configuration needs a person: {reason}")))
        }
    }
}

fn broadcasted(signed: &SignedTransaction, node: &str) -> Receipt {
    done().broadcasted().detail(serde_json::json!({
        "tx_hash": signed.hash,
        "nonce": signed.nonce,
        "node": node,
    }))
}

#[cfg(test)]
mod tests;
