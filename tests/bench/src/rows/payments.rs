//! What payments cost the host: signatures, a look at many that are open, and calls of a node.
//!
//! The store is Postgres, the node the stand-in with blocks of a quarter of a second. The plugin's
//! part is left out: the bytes go out as the host sends them again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use tidegate::chain::{
    AccountConfig, Asset, Chains, EvmChain, FeeCaps, Finality, NetworkConfig, Passphrase, Spread,
    TransactionRequest, create_keystore,
};
use tidegate::domain::{
    EventState, EventType, Flow, HostId, OutboxEvent, Withdrawal, WithdrawalId, WithdrawalRequest,
    event_types,
};
use tidegate::sandbox::{ChainConfig, Clock, EvmNode};
use tidegate::store::{
    self, AcceptWithdrawal, Answer, CLAIM_MAX, Claim, IdempotencyClaim, LeaseRef, Store,
    StoreOptions,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fallible::{Fallible, float};
use crate::fill;
use crate::report::Report;
use crate::scene::Scene;

use super::dispatch::{DATABASE, cluster};

const NETWORK: &str = "eip155:31337";
const PAYEE: &str = "0x52908400098527886E0F7030069857D2E4169EE7";
const OPEN: u64 = 10_000;
const IN_FLIGHT: u64 = 100;
/// Requests at once, in the preparation and while signing.
const AT_ONCE: usize = 8;
const POLL: Duration = Duration::from_millis(250);
const MINED_WITHIN: Duration = Duration::from_secs(120);

struct Bench {
    store: Arc<dyn Store>,
    node: EvmNode,
    config: NetworkConfig,
}

pub(crate) async fn measure(scene: &Scene, report: &mut Report) -> Fallible<()> {
    let bench = Bench::start(scene).await?;
    let open = scene.options.scaled(OPEN);
    signing_and_passes(&bench, open, report).await?;
    calls(&bench, report).await
}

async fn signing_and_passes(bench: &Bench, open: u64, report: &mut Report) -> Fallible<()> {
    // It looks at them while nothing is ever deep enough.
    let patient = bench.chain(100_000).await?;
    let began = Instant::now();
    let events = bench.accept(open).await?;
    let accepted = began.elapsed();
    let began = Instant::now();
    bench.sign(&patient.chain, events).await?;
    let rate = float(open) / began.elapsed().as_secs_f64();
    let command = format!("{open} first signatures of one account, {AT_ONCE} at once; Postgres");
    let note = format!("accepted before, {:.0}/s", float(open) / accepted.as_secs_f64());
    report.add_noted("payments/signed", rate, "payments/s", &command, note);

    let began = Instant::now();
    patient.chain.confirmation_pass(Utc::now()).await?;
    let took = began.elapsed().as_secs_f64();
    let command = format!("one pass over {open} open payments, none of them final");
    report.add_noted("payments/pass open", took, "s", &command, "aim: ≤ 2".into());

    let deadline = Instant::now() + MINED_WITHIN;
    for hours in 1.. {
        patient.chain.confirmation_pass(Utc::now() + chrono::Duration::hours(hours)).await?;
        if bench.node.transfers()?.len() as u64 >= open {
            break;
        }
        if Instant::now() > deadline {
            return Err("the payments were not mined in time".into());
        }
        tokio::time::sleep(POLL).await;
    }
    let hasty = bench.chain(1).await?;
    let began = Instant::now();
    let pass = hasty.chain.confirmation_pass(Utc::now()).await?;
    let took = began.elapsed().as_secs_f64();
    let command = format!("one pass in which {} open payments are final", pass.confirmed);
    let note = format!("{} calls of the node", hasty.calls());
    report.add_noted("payments/pass final", took, "s", &command, note);
    Ok(())
}

/// The host's calls from the first signature of a hundred to the last one's end.
async fn calls(bench: &Bench, report: &mut Report) -> Fallible<()> {
    let open = bench.chain(3).await?;
    let events = bench.accept(IN_FLIGHT).await?;
    bench.sign(&open.chain, events).await?;
    let mut confirmed = 0;
    // The first look sends them; the later ones wait for blocks, as a host does.
    let mut ahead = chrono::Duration::hours(1);
    while confirmed < IN_FLIGHT {
        confirmed += open.chain.confirmation_pass(Utc::now() + ahead).await?.confirmed;
        ahead = chrono::Duration::zero();
        tokio::time::sleep(POLL).await;
    }
    let rate = float(open.calls()) / float(IN_FLIGHT);
    let command = format!("the host's own, {IN_FLIGHT} in flight, depth 3, a look each 250 ms");
    report.add_noted(
        "payments/calls",
        rate,
        "calls",
        &command,
        "aim: ≤ 6 with the plugin's".into(),
    );
    Ok(())
}

/// A chain, with what it is counted by.
struct Opened {
    chain: Arc<EvmChain>,
    chains: Chains,
}

impl Opened {
    fn calls(&self) -> u64 {
        let text = self.chains.metrics();
        let lines = text.lines().filter(|line| line.starts_with("tidegate_node_calls_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

impl Bench {
    async fn start(scene: &Scene) -> Fallible<Self> {
        let url = fill::empty_postgres(cluster(scene)?, DATABASE).await?;
        let store = store::open(&url.parse()?, StoreOptions::default()).await?;
        let folder = scene.folder("payments")?;
        let (keystore, passphrase) = (folder.join("key.json"), Passphrase::new("bench".into()));
        let account = create_keystore(&keystore, &passphrase)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let chain = ChainConfig::default();
        let node = EvmNode::start(&folder.join("chain"), listener, chain, Clock::System)?;
        node.fund(account.parse()?, "1000000000000000000000000".parse()?)?;
        let config = NetworkConfig {
            network: NETWORK.parse()?,
            rpc_urls: vec![node.url().parse()?],
            ws_urls: Vec::new(),
            quorum: None,
            finality: Finality::Depth,
            depth: 1,
            assets: BTreeMap::from([("ETH".into(), Asset::Native { decimals: 18 })]),
            accounts: vec![AccountConfig::Keystore { path: keystore, passphrase }],
            spread: Spread::default(),
            in_flight_max: 100_000,
            fees: FeeCaps {
                fee_max_per_gas: u128::MAX,
                fee_max_per_transaction: u128::MAX,
                fee_max_per_day: u128::MAX,
                gas_limit_max: 21_000,
            },
            resend_after: Duration::from_secs(60),
            rebroadcast_after: Duration::from_secs(24 * 60 * 60 * 365),
            rpc_timeout: Duration::from_secs(10),
        };
        Ok(Self { store, node, config })
    }

    async fn chain(&self, depth: u64) -> Fallible<Opened> {
        let config = NetworkConfig { depth, ..self.config.clone() };
        let network = config.network.clone();
        let chains = Chains::open(vec![config], Arc::clone(&self.store) as _).await?;
        let chain = Arc::clone(chains.get(&network).ok_or("no chain")?);
        Ok(Opened { chain, chains })
    }

    /// Accepts withdrawals, and claims their broadcasts.
    async fn accept(&self, count: u64) -> Fallible<Vec<OutboxEvent>> {
        let mut accepting = JoinSet::new();
        for _ in 0..count {
            if accepting.len() >= AT_ONCE {
                accepting.join_next().await.transpose()?.transpose()?;
            }
            let store = Arc::clone(&self.store);
            accepting.spawn(async move { accept(store.as_ref()).await });
        }
        while let Some(accepted) = accepting.join_next().await {
            accepted??;
        }
        let (host, event_type): (HostId, EventType) =
            (HostId::generate("bench"), event_types::BLOCKCHAIN_BROADCAST_REQUESTED.parse()?);
        let mut events = Vec::new();
        while (events.len() as u64) < count {
            let claim = Claim {
                host: &host,
                event_type: &event_type,
                limit: CLAIM_MAX,
                lease_for: Duration::from_secs(600),
                ordered_among: &[],
            };
            let claimed = self.store.claim(claim).await?;
            if claimed.is_empty() {
                return Err("an event is missing".into());
            }
            events.extend(claimed);
        }
        Ok(events)
    }

    async fn sign(&self, chain: &Arc<EvmChain>, events: Vec<OutboxEvent>) -> Fallible<()> {
        let mut signing = JoinSet::new();
        for event in events {
            if signing.len() >= AT_ONCE {
                signing.join_next().await.transpose()?.transpose()?;
            }
            let chain = Arc::clone(chain);
            signing.spawn(async move { sign(&chain, &event).await });
        }
        while let Some(signed) = signing.join_next().await {
            signed??;
        }
        Ok(())
    }
}

async fn accept(store: &dyn Store) -> Fallible<()> {
    store.accept_withdrawal(request()?).await?;
    Ok(())
}

async fn sign(chain: &EvmChain, event: &OutboxEvent) -> Fallible<()> {
    let EventState::Processing(lease) = &event.state else { return Err("no lease".into()) };
    let lease = LeaseRef { event: event.id, token: lease.token };
    let request = TransactionRequest {
        chain_id: 31_337,
        to: PAYEE.into(),
        value: "1000000000000000".into(),
        data: Vec::new(),
        gas_limit: 21_000,
        max_fee_per_gas: "100000000000".into(),
        max_priority_fee_per_gas: "1000000000".into(),
    };
    let withdrawal = WithdrawalId::from_uuid(event.aggregate.id().parse()?);
    chain.sign(lease, withdrawal, request, false).await?;
    Ok(())
}

fn request() -> Fallible<AcceptWithdrawal> {
    let request = WithdrawalRequest {
        user_id: "user-1".into(),
        asset: "ETH".into(),
        network: NETWORK.parse()?,
        amount: "0.001".parse()?,
        destination_address: PAYEE.into(),
    };
    let withdrawal = Withdrawal::requested(WithdrawalId::generate(), request, Utc::now());
    Ok(AcceptWithdrawal {
        events: Flow::default().events(&withdrawal, None),
        withdrawal,
        idempotency: IdempotencyClaim {
            scope: "bench".into(),
            key: Uuid::now_v7().to_string(),
            fingerprint: "0".repeat(64),
        },
        answer: Answer { status: 201, location: "/".into(), body: "{}".into() },
    })
}
