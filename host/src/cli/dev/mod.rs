//! `tidegate dev`: everything on one machine, with stand-ins for partner, chain and broker.
//!
//! What it makes lies in the data directory and is found again: the database, the key, the tokens,
//! the components, and what the stand-ins know.

mod identity;
mod plugins;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::DevArgs;
use super::config::{
    AuditConfig, DispatchConfig, LogConfig, PoliciesConfig, Redacted, SecretConfig,
};
use super::error::CliError;
use super::host::{HostPlan, RunningHost};
use super::host_plugins::PluginsPlan;
use super::logging::start_logging;
use super::memory::forbid_dumps;
use super::output::print;
use crate::api;
use crate::chain::{AccountConfig, Asset, FeeCaps, Finality, NetworkConfig, Spread};
use crate::domain::Flow;
use crate::jobs::Retention;
use crate::sandbox::{self, StandIns, StandInsOptions};
use crate::store::{Pooler, StoreUrl};
use identity::Identity;

/// The secret that the partner's stand-in asks for.
pub(super) const PARTNER_SECRET: &str = "PARTNER_API_KEY";

const CONFIRMATION_POLL: Duration = Duration::from_millis(250);
/// Blocks that make a payment final here; a block comes each quarter of a second.
const DEPTH: u64 = 2;

/// # Errors
/// Something that it needs cannot be had; the text says what.
pub async fn run(args: DevArgs) -> Result<(), CliError> {
    start_logging(&LogConfig::default())?;
    forbid_dumps();
    let data_dir = args.data_dir;
    let in_folder = |error: std::io::Error| {
        let remedy = "name another folder with --data-dir";
        CliError::failed(error.to_string(), data_dir.display().to_string(), remedy)
    };
    std::fs::create_dir_all(&data_dir).map_err(in_folder)?;
    let identity = Identity::load_or_create(&data_dir).await?;
    let components = plugins::build().await?;
    let options = StandInsOptions {
        partner_api_key: Some(identity.partner_api_key.clone()),
        ..StandInsOptions::default()
    };
    let stand_ins = StandIns::start(&data_dir, options).await.map_err(|error| {
        let remedy = "stop the other `tidegate dev`, or name another folder with --data-dir";
        CliError::failed(error.to_string(), data_dir.display().to_string(), remedy)
    })?;
    let done = run_host(&args.listen, &data_dir, &identity, &components, &stand_ins).await;
    // After the host: what it still sends must find them.
    stand_ins.shutdown().await;
    done
}

async fn run_host(
    listen: &std::net::SocketAddr,
    data_dir: &Path,
    identity: &Identity,
    components: &plugins::Components,
    stand_ins: &StandIns,
) -> Result<(), CliError> {
    stand_ins.fund(identity.account).map_err(|error| {
        CliError::failed(error.to_string(), "the stand-in node", "free some disk space")
    })?;
    let folder = data_dir.join("plugins");
    plugins::install(&folder, components, stand_ins)?;
    let host = RunningHost::start(HostPlan {
        listen: *listen,
        store: StoreUrl::Sqlite(data_dir.join("tidegate.db")),
        connections_max: 8,
        pooler: Pooler::None,
        store_wait: Duration::ZERO,
        migrate: true,
        flow: Flow::default(),
        tokens: identity.tokens()?,
        http: api::Limits::default(),
        plugins: PluginsPlan {
            folder: &folder,
            cache: &data_dir.join("plugins-cache"),
            drain: Duration::from_secs(10),
            // Whoever develops a plugin changes what it asks for all the time.
            rule: api::ReleaseRule { hold_widening: false, ..Default::default() },
            prepare_within: Duration::from_secs(60),
            trusted: None,
        },
        networks: vec![network(identity, stand_ins)?],
        policies: PoliciesConfig::default(),
        confirmation_poll: CONFIRMATION_POLL,
        broker: Some(stand_ins.broker.clone()),
        secrets: BTreeMap::from([(
            PARTNER_SECRET.to_owned(),
            SecretConfig::Value(Redacted::new(identity.partner_api_key.clone())),
        )]),
        audit: AuditConfig::default(),
        dispatch: DispatchConfig {
            lease: Duration::from_secs(10),
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(5),
            batch: 200,
            interruptions_max: 20,
            attempts_max: 1_000,
        },
        retention: Retention::default(),
    })
    .await?;
    print(&greeting(&format!("http://{}", host.address), identity, stand_ins))?;
    host.run_until_stopped().await
}

fn network(identity: &Identity, stand_ins: &StandIns) -> Result<NetworkConfig, CliError> {
    let wrong = |what: String| CliError::failed(what, "the stand-in node", "report it");
    let contract = sandbox::TOKEN_CONTRACT.to_checksum(None);
    Ok(NetworkConfig {
        network: sandbox::NETWORK
            .parse()
            .map_err(|e: crate::domain::NameError| wrong(e.to_string()))?,
        rpc_urls: vec![stand_ins.node_url.parse().map_err(|_| wrong("its URL is none".into()))?],
        ws_urls: Vec::new(),
        quorum: None,
        finality: Finality::Depth,
        depth: DEPTH,
        assets: BTreeMap::from([
            (sandbox::ASSET_NATIVE.to_owned(), Asset::Native { decimals: 18 }),
            (
                sandbox::ASSET_TOKEN.to_owned(),
                Asset::Erc20 { contract, decimals: sandbox::TOKEN_DECIMALS },
            ),
        ]),
        accounts: vec![AccountConfig::Keystore {
            path: identity.keystore.clone(),
            passphrase: identity.passphrase.clone(),
        }],
        spread: Spread::default(),
        in_flight_max: 1_000,
        // Nothing is at stake here: only what a mistake in a plugin would multiply is capped.
        fees: FeeCaps {
            fee_max_per_gas: 1_000_000_000_000,
            fee_max_per_transaction: 1_000_000_000_000_000_000,
            fee_max_per_day: 100_000_000_000_000_000_000_000,
            gas_limit_max: 500_000,
        },
        watch_blocks: 64,
        resend_after: Duration::from_secs(2),
        rebroadcast_after: Duration::from_secs(10),
        rpc_timeout: Duration::from_secs(5),
    })
}

/// What a newcomer needs: where it is, how to get in, what to paste, and where to look.
fn greeting(url: &str, identity: &Identity, stand_ins: &StandIns) -> String {
    let token = &identity.token;
    format!(
        "ready {url}

  token     {token}
            (roles submit, read, operate; kept in {kept})
  partner   {partner}/withdrawals
            (wants -H \"Authorization: Bearer $(cat {kept}/partner-api-key)\")
  node      {node}    JSON-RPC, network {network}, paying account {account}
            {node}/transfers
  broker    {broker}/messages

Paste this into another terminal:

  export TIDEGATE_TOKEN={token}
  curl -i {url}/v1/withdrawals \\
    -H \"Authorization: Bearer $TIDEGATE_TOKEN\" \\
    -H \"Idempotency-Key: \\\"first-$RANDOM\\\"\" \\
    -H 'Content-Type: application/json' \\
    -d '{{\"user_id\":\"user-1\",\"asset\":\"{asset}\",\"network\":\"{network}\",\"amount\":\"1.5\",\
         \"destination_address\":\"0x52908400098527886E0F7030069857D2E4169EE7\"}}'

and look at what became of it:

  cargo run --release -- withdrawals list --url {url}",
        kept = identity.folder.display(),
        partner = stand_ins.partner_url,
        node = stand_ins.node_url,
        broker = stand_ins.broker_url,
        network = sandbox::NETWORK,
        account = identity.account.to_checksum(None),
        asset = sandbox::ASSET_NATIVE,
    )
}
