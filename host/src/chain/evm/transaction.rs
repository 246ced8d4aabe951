//! Building, signing and checking one transaction (EIP-1559), and the two calls of an ERC-20.

use alloy_consensus::{SignableTransaction as _, Signed, TxEip1559};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, Bytes, TxKind, U256, keccak256};
use alloy_sol_types::{SolCall as _, sol};

use super::convert::biguint;
use crate::chain::signer::{SIGN_MAX, Signer, SignerError};
use crate::domain::{NewSignedTransaction, TransactionKind};

sol! {
    /// What Tidegate uses of ERC-20.
    interface Erc20 {
        function transfer(address to, uint256 value) external returns (bool);
        function balanceOf(address owner) external view returns (uint256);
        event Transfer(address indexed from, address indexed to, uint256 value);
    }
}

/// `transfer(to, value)` as calldata.
pub(super) fn transfer_call(to: Address, value: U256) -> Vec<u8> {
    Erc20::transferCall { to, value }.abi_encode()
}

/// `balanceOf(owner)` as calldata.
pub(super) fn balance_call(owner: Address) -> Vec<u8> {
    Erc20::balanceOfCall { owner }.abi_encode()
}

/// A transaction that every rule allowed. Only `rules::check` makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApprovedTransaction {
    pub(super) kind: TransactionKind,
    pub(super) chain_id: u64,
    pub(super) nonce: u64,
    pub(super) to: Address,
    pub(super) value: U256,
    pub(super) data: Vec<u8>,
    pub(super) gas_limit: u64,
    pub(super) fee_max_per_gas: u128,
    pub(super) priority_fee_max_per_gas: u128,
    pub(super) native_cost_max: U256,
    pub(super) asset_units: U256,
}

/// The signature is not what it must be; nothing of it is used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SigningFault {
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error("the signature is of no account")]
    NoAccount,
    #[error("the signature is of another account")]
    OtherAccount,
    #[error("the signature is not in its canonical form")]
    NotCanonical,
}

/// Signs, and checks what came back before anyone may use it: a signature that recovers to another
/// account would move somebody else's nonce, and a hash that is not of these bytes would let a
/// payment be looked for under a name that it does not have.
pub(super) async fn sign(
    approved: &ApprovedTransaction,
    signer: &dyn Signer,
) -> Result<NewSignedTransaction, SigningFault> {
    let transaction = TxEip1559 {
        chain_id: approved.chain_id,
        nonce: approved.nonce,
        gas_limit: approved.gas_limit,
        max_fee_per_gas: approved.fee_max_per_gas,
        max_priority_fee_per_gas: approved.priority_fee_max_per_gas,
        to: TxKind::Call(approved.to),
        value: approved.value,
        access_list: alloy_eips::eip2930::AccessList::default(),
        input: Bytes::from(approved.data.clone()),
    };
    let unsigned = transaction.encoded_for_signing();
    let signature =
        tokio::time::timeout(SIGN_MAX, signer.sign(&unsigned)).await.map_err(|_| {
            let signer = format!("{signer:?}");
            SignerError::Away { signer, cause: "it did not answer in time".into() }
        })??;
    if signature.normalize_s().is_some() {
        return Err(SigningFault::NotCanonical);
    }
    let signed: Signed<TxEip1559> = transaction.into_signed(signature);
    let recovered = signed.recover_signer().map_err(|_| SigningFault::NoAccount)?;
    if recovered != signer.address() {
        return Err(SigningFault::OtherAccount);
    }
    let raw = signed.encoded_2718();
    Ok(NewSignedTransaction {
        // Of the very bytes that are stored and sent, not of the fields that they came from.
        hash: format!("{:#x}", keccak256(&raw)),
        kind: approved.kind,
        raw,
        gas_limit: approved.gas_limit,
        fee_max_per_gas: approved.fee_max_per_gas,
        priority_fee_max_per_gas: approved.priority_fee_max_per_gas,
        native_cost_max: biguint(approved.native_cost_max),
        asset_units: biguint(approved.asset_units),
    })
}

#[cfg(test)]
pub(in crate::chain) mod tests {
    use alloy_eips::eip2718::Decodable2718 as _;
    use alloy_primitives::{address, hex};
    use alloy_sol_types::SolEvent as _;

    use super::*;
    use crate::chain::signer::AccountKey;

    #[test]
    fn the_calls_are_those_of_the_standard() {
        let owner = address!("00000000000000000000000000000000000000aa");
        assert_eq!(&keccak256("transfer(address,uint256)")[..4], Erc20::transferCall::SELECTOR);
        assert_eq!(&keccak256("balanceOf(address)")[..4], Erc20::balanceOfCall::SELECTOR);
        assert_eq!(keccak256("Transfer(address,address,uint256)"), Erc20::Transfer::SIGNATURE_HASH);
        let expected = hex!(
            "a9059cbb"
            "00000000000000000000000000000000000000000000000000000000000000aa"
            "0000000000000000000000000000000000000000000000000000000000000102"
        );
        assert_eq!(transfer_call(owner, U256::from(0x102)), expected);
    }

    fn approved() -> ApprovedTransaction {
        ApprovedTransaction {
            kind: TransactionKind::Payment,
            chain_id: 31_337,
            nonce: 7,
            to: address!("00000000000000000000000000000000000000aa"),
            value: U256::from(5),
            data: vec![1, 2, 3],
            gas_limit: 50_000,
            fee_max_per_gas: 30,
            priority_fee_max_per_gas: 2,
            native_cost_max: U256::from(1_500_005),
            asset_units: U256::from(5),
        }
    }

    /// What a remote signer answers, through the check of what comes back.
    pub(in crate::chain) async fn sign_for_tests(signer: &dyn Signer) -> Result<(), String> {
        sign(&approved(), signer).await.map(|_| ()).map_err(|fault| fault.to_string())
    }

    #[tokio::test]
    async fn what_is_signed_decodes_to_the_same_fields_account_and_hash() {
        let key = AccountKey::for_tests(1);
        let approved = approved();
        let signed = sign(&approved, &key).await.unwrap();
        let decoded = Signed::<TxEip1559>::decode_2718(&mut signed.raw.as_slice()).unwrap();
        assert_eq!(decoded.recover_signer().unwrap(), key.address());
        assert_eq!(format!("{:#x}", decoded.hash()), signed.hash);
        let fields = decoded.tx();
        assert_eq!((fields.chain_id, fields.nonce, fields.value), (31_337, 7, U256::from(5)));
        assert_eq!((fields.to, &fields.input[..]), (approved.to.into(), &[1, 2, 3][..]));
        assert_eq!(
            sign(&approved, &key).await.unwrap(),
            signed,
            "the same bytes each time (RFC 6979)"
        );
    }
}
