//! Who owns what: the chain's own coin, the built-in tokens and the nonces, at every block.

use std::collections::HashMap;

use alloy_consensus::Transaction;
use alloy_primitives::{Address, U256};

use super::erc20::{self, Call, TokenBehaviour};
use super::history::History;
use super::transaction::{Decoded, intrinsic_gas};

/// What a transfer of a token costs beyond its intrinsic gas: two storage writes and a log.
const GAS_TOKEN_CALL: u64 = 30_000;

/// A token whose contract is built into the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenConfig {
    pub contract: Address,
    pub symbol: String,
    pub decimals: u8,
}

#[derive(Debug)]
pub(super) struct Token {
    pub(super) config: TokenConfig,
    behaviour: TokenBehaviour,
    balances: HashMap<Address, History>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    native: HashMap<Address, History>,
    tokens: HashMap<Address, Token>,
    /// For each account the block of each of its nonces.
    nonces: HashMap<Address, Vec<u64>>,
    /// What every transaction uses beyond Ethereum's own gas.
    gas_extra: u64,
}

/// A movement of an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Movement {
    /// The token's contract; none for the chain's own coin.
    pub(super) contract: Option<Address>,
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) amount: U256,
}

/// What running a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Execution {
    pub(super) succeeded: bool,
    pub(super) gas_used: u64,
    /// More than one where a token keeps a part for itself.
    pub(super) movements: Vec<Movement>,
}

impl Ledger {
    pub(super) fn new(tokens: &[TokenConfig], gas_extra: u64) -> Self {
        let token = |config: &TokenConfig| Token {
            config: config.clone(),
            behaviour: TokenBehaviour::Standard,
            balances: HashMap::new(),
        };
        let tokens = tokens.iter().map(|config| (config.contract, token(config))).collect();
        Self { tokens, gas_extra, ..Self::default() }
    }

    /// Does nothing where there is no such token.
    pub(super) fn set_token(&mut self, contract: Address, behaviour: TokenBehaviour) {
        if let Some(token) = self.tokens.get_mut(&contract) {
            token.behaviour = behaviour;
        }
    }

    pub(super) fn endow(&mut self, account: Address, amount: U256) {
        self.native.entry(account).or_default().endow(amount);
    }

    /// Whether the account was ever given of the chain's own coin.
    pub(super) fn is_endowed(&self, account: Address) -> bool {
        self.native.get(&account).is_some_and(History::is_endowed)
    }

    /// Does nothing where there is no such token.
    pub(super) fn endow_token(&mut self, contract: Address, account: Address, amount: U256) {
        if let Some(token) = self.tokens.get_mut(&contract) {
            token.balances.entry(account).or_default().endow(amount);
        }
    }

    pub(super) fn token(&self, contract: Address) -> Option<&Token> {
        self.tokens.get(&contract)
    }

    pub(super) fn balance(&self, account: Address) -> U256 {
        self.native.get(&account).map(History::latest).unwrap_or_default()
    }

    pub(super) fn balance_at(&self, account: Address, block: u64) -> U256 {
        self.native.get(&account).map(|history| history.at(block)).unwrap_or_default()
    }

    /// The nonce that the account's next transaction has.
    pub(super) fn nonce(&self, account: Address) -> u64 {
        self.nonces.get(&account).map_or(0, |blocks| blocks.len() as u64)
    }

    pub(super) fn nonce_at(&self, account: Address, block: u64) -> u64 {
        self.nonces
            .get(&account)
            .map_or(0, |blocks| blocks.partition_point(|mined| *mined <= block) as u64)
    }

    /// The gas that a call would use, whether or not it succeeds.
    pub(super) fn gas_needed(&self, to: Option<Address>, data: &[u8]) -> u64 {
        let (intrinsic, floor) = intrinsic_gas(data, to.is_none());
        let runs =
            if to.is_some_and(|to| self.tokens.contains_key(&to)) { GAS_TOKEN_CALL } else { 0 };
        (intrinsic + runs).max(floor) + self.gas_extra
    }

    /// What a call would move at `block`, or the words with which it is reverted.
    pub(super) fn try_call(
        &self,
        from: Address,
        to: Option<Address>,
        value: U256,
        data: &[u8],
        block: u64,
    ) -> Result<Vec<Movement>, &'static str> {
        let Some(to) = to else { return Err("contracts cannot be created here") };
        let Some(token) = self.tokens.get(&to) else {
            let moved = Movement { contract: None, from, to, amount: value };
            return Ok(if value.is_zero() { Vec::new() } else { vec![moved] });
        };
        if !value.is_zero() {
            return Err("the token takes no value");
        }
        match erc20::decode(data) {
            Some(Call::Transfer { to: recipient, amount }) => {
                token.transfer(from, recipient, amount, block)
            }
            Some(Call::BalanceOf { .. } | Call::Decimals | Call::Symbol) => Ok(Vec::new()),
            None => Err("the token has no such function"),
        }
    }

    /// The word that a token's `transfer` answers where it does not revert.
    pub(super) fn transfer_answers(&self, contract: Address) -> bool {
        self.tokens
            .get(&contract)
            .is_some_and(|token| token.behaviour != TokenBehaviour::ReturnsFalse)
    }

    /// Runs a transaction in `block`, or answers none where the sender cannot pay for it. The
    /// caller has seen to the nonce.
    pub(super) fn execute(
        &mut self,
        transaction: &Decoded,
        block: u64,
        base_fee: u128,
    ) -> Option<Execution> {
        let (sender, envelope) = (transaction.sender, &transaction.envelope);
        let price = U256::from(transaction.price(base_fee));
        let upfront = price.saturating_mul(U256::from(envelope.gas_limit()));
        let balance = self.balance(sender);
        if balance < upfront.saturating_add(envelope.value()) {
            return None;
        }
        let needed = self.gas_needed(envelope.to(), envelope.input());
        let outcome = if needed > envelope.gas_limit() {
            Err("out of gas")
        } else {
            self.try_call(sender, envelope.to(), envelope.value(), envelope.input(), block)
        };
        let gas_used = needed.min(envelope.gas_limit());
        let fee = price.saturating_mul(U256::from(gas_used));
        self.native.entry(sender).or_default().set(block, balance.saturating_sub(fee));
        self.nonces.entry(sender).or_default().push(block);
        let succeeded = outcome.is_ok();
        let movements = outcome.unwrap_or_default();
        for movement in &movements {
            self.carry_out(movement, block);
        }
        Some(Execution { succeeded, gas_used, movements })
    }

    fn carry_out(&mut self, movement: &Movement, block: u64) {
        let balances = match movement.contract {
            None => &mut self.native,
            Some(contract) => match self.tokens.get_mut(&contract) {
                Some(token) => &mut token.balances,
                None => return,
            },
        };
        let from = balances.entry(movement.from).or_default();
        let rest = from.latest().saturating_sub(movement.amount);
        from.set(block, rest);
        let to = balances.entry(movement.to).or_default();
        let sum = to.latest().saturating_add(movement.amount);
        to.set(block, sum);
    }

    /// Forgets what happened in `block` and later.
    pub(super) fn rewind(&mut self, block: u64) {
        let tokens = self.tokens.values_mut().flat_map(|token| token.balances.values_mut());
        for history in self.native.values_mut().chain(tokens) {
            history.rewind(block);
        }
        for blocks in self.nonces.values_mut() {
            blocks.retain(|mined| *mined < block);
        }
    }
}

impl Token {
    fn transfer(
        &self,
        from: Address,
        to: Address,
        amount: U256,
        block: u64,
    ) -> Result<Vec<Movement>, &'static str> {
        let contract = self.config.contract;
        let moved = |to, amount| Movement { contract: Some(contract), from, to, amount };
        match self.behaviour {
            TokenBehaviour::Paused => return Err("Pausable: paused"),
            TokenBehaviour::ReturnsFalse => return Ok(Vec::new()),
            TokenBehaviour::Standard | TokenBehaviour::FeeOnTransfer { .. } => {}
        }
        if to.is_zero() {
            return Err("ERC20: transfer to the zero address");
        }
        if self.balance_at(from, block) < amount {
            return Err("ERC20: transfer amount exceeds balance");
        }
        let kept = match self.behaviour {
            TokenBehaviour::FeeOnTransfer { basis_points } => {
                let part = U256::from(basis_points.min(10_000));
                amount.saturating_mul(part) / U256::from(10_000)
            }
            TokenBehaviour::Standard | TokenBehaviour::Paused | TokenBehaviour::ReturnsFalse => {
                U256::ZERO
            }
        };
        let mut movements = vec![moved(to, amount.saturating_sub(kept))];
        if !kept.is_zero() {
            movements.push(moved(contract, kept));
        }
        Ok(movements)
    }

    pub(super) fn balance_at(&self, account: Address, block: u64) -> U256 {
        self.balances.get(&account).map(|history| history.at(block)).unwrap_or_default()
    }
}
