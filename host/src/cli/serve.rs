//! `tidegate serve`: a host, as its configuration says.

use std::sync::Arc;
use std::time::Duration;

use super::ServeArgs;
use super::config::{self, AssetKind, BrokerConfig, Config};
use super::error::CliError;
use super::host::{HostPlan, RunningHost};
use super::host_plugins::PluginsPlan;
use super::logging::start_logging;
use super::memory::forbid_dumps;
use super::output::print;
use super::store_args::store_of;
use crate::api::{Limits, ReleaseRule};
use crate::broker::{Broker, NatsBroker, NatsConfig, NatsStream};
use crate::chain::{AccountConfig, Asset, FeeCaps, NetworkConfig, Passphrase};

/// Longer than any retry of a publication may take to come again.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a node may take to answer.
const RPC_TIMEOUT: Duration = Duration::from_secs(10);

/// # Errors
/// The configuration does not hold, or the host cannot start.
pub async fn run(args: ServeArgs) -> Result<(), CliError> {
    let config = Config::load(&args.config)?;
    start_logging(&config.log)?;
    forbid_dumps();
    let store = store_of(&config, &args.config)?;
    let broker = open_broker(&config.broker);
    let mut networks = Vec::with_capacity(config.networks.len());
    for network in &config.networks {
        networks.push(chain_network(network)?);
    }
    let poll = config.networks.iter().map(|network| network.poll).min();
    let host = RunningHost::start(HostPlan {
        listen: config.listen,
        store,
        connections_max: config.store.connections_max,
        pooler: config.store.pooler,
        store_wait: config.store.wait,
        migrate: config.store.migrate,
        flow: config.flow,
        tokens: config.tokens,
        // A few polls: a host that takes what is due has taken it by then.
        http: Limits {
            untaken_after: config.http.untaken_after.max(5 * config.dispatch.poll),
            ..config.http
        },
        plugins: PluginsPlan {
            folder: &config.plugins.dir,
            cache: &config.plugins.cache_dir,
            drain: config.plugins.drain,
            rule: ReleaseRule {
                from_store: args.plugins_from.unwrap_or(config.plugins.from_store),
                hold_widening: config.plugins.hold_widening,
            },
            prepare_within: config.plugins.prepare_timeout,
            trusted: config.plugins.require_signature,
        },
        networks,
        policies: config.policies,
        confirmation_poll: poll.unwrap_or(RPC_TIMEOUT),
        broker,
        secrets: config.secrets,
        audit: config.audit,
        dispatch: config.dispatch,
        retention: config.retention,
    })
    .await?;
    print(&format!("ready http://{}", host.address))?;
    host.run_until_stopped().await
}

fn open_broker(config: &BrokerConfig) -> Option<Arc<dyn Broker>> {
    match config {
        BrokerConfig::None => None,
        BrokerConfig::Nats { url, stream, subject_prefix } => {
            let nats = NatsConfig {
                stream: Some(NatsStream {
                    name: stream.clone(),
                    subjects: vec![format!("{subject_prefix}.>")],
                    duplicate_window: DUPLICATE_WINDOW,
                }),
                ..NatsConfig::new(url.reveal())
            };
            Some(Arc::new(NatsBroker::new(nats)))
        }
    }
}

fn chain_network(config: &config::NetworkConfig) -> Result<NetworkConfig, CliError> {
    let failed = |what: String, key: &str| {
        CliError::failed(what, format!("[[networks]] {}: {key}", config.id), "correct it")
    };
    let urls = |urls: &[config::Redacted], key| {
        let parsed = urls.iter().map(|url| url.reveal().parse::<url::Url>());
        parsed.collect::<Result<Vec<_>, _>>().map_err(|_| failed("is no URL".into(), key))
    };
    let wei = |amount: &crate::domain::BigUint, key| {
        u128::try_from(amount.clone()).map_err(|_| failed("is larger than any fee".into(), key))
    };
    let assets = config.assets.iter().map(|(name, asset)| {
        let known = match &asset.kind {
            AssetKind::Native => Asset::Native { decimals: asset.decimals },
            AssetKind::Erc20 { contract } => {
                Asset::Erc20 { contract: contract.clone(), decimals: asset.decimals }
            }
        };
        (name.clone(), known)
    });
    Ok(NetworkConfig {
        network: config.id.clone(),
        rpc_urls: urls(&config.rpc_urls, "rpc_urls")?,
        ws_urls: urls(&config.ws_urls, "ws_urls")?,
        quorum: config.quorum.and_then(|quorum| usize::try_from(quorum).ok()),
        finality: config.finality,
        depth: config.depth,
        assets: assets.collect(),
        accounts: config.accounts.iter().map(account).collect(),
        spread: config.spread,
        in_flight_max: config.in_flight_max,
        fees: FeeCaps {
            fee_max_per_gas: config.fee_per_gas_max_wei,
            fee_max_per_transaction: wei(
                &config.fee_per_transaction_max_wei,
                "fee_per_transaction_max_wei",
            )?,
            fee_max_per_day: wei(&config.fee_per_day_max_wei, "fee_per_day_max_wei")?,
            gas_limit_max: config.gas_limit_max,
        },
        watch_blocks: config.watch_blocks,
        resend_after: config.resend_after,
        rebroadcast_after: config.rebroadcast_after,
        rpc_timeout: RPC_TIMEOUT,
    })
}

fn account(config: &config::AccountConfig) -> AccountConfig {
    match config {
        config::AccountConfig::Keystore { path, passphrase } => AccountConfig::Keystore {
            path: path.clone(),
            passphrase: Passphrase::new(passphrase.reveal().to_owned()),
        },
        config::AccountConfig::Remote(remote) => AccountConfig::Remote(remote.clone()),
    }
}
