//! `[[networks]]`: the chains that withdrawals go out on, their assets, and what they may cost.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::chain::{ClientFiles, Finality, RemoteSignerConfig, Spread};
use crate::domain::{BigUint, Network};

use super::reader::Section;
use super::redacted::Redacted;

/// One network. Plain values: what they mean is the chain module's matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    pub id: Network,
    /// At least one. They often hold a provider's key.
    pub rpc_urls: Vec<Redacted>,
    /// `ws` and `wss`, for new heads. They often hold a key too.
    pub ws_urls: Vec<Redacted>,
    /// How many of the nodes must say the same; none means more than half.
    pub quorum: Option<u64>,
    pub finality: Finality,
    /// With the finality `depth`: so many blocks make a payment final; the block that holds it is
    /// the first.
    pub depth: u64,
    /// Those that pay. At least one.
    pub accounts: Vec<AccountConfig>,
    pub spread: Spread,
    /// How many transactions of an account may wait for being mined.
    pub in_flight_max: u64,
    /// For so many blocks after its own an end is watched.
    pub watch_blocks: u64,
    /// Signed bytes are sent again this long after they were sent.
    pub resend_after: Duration,
    /// How often open payments are looked at.
    pub poll: Duration,
    /// A payment that is not mined by then is handed to the plugin again.
    pub rebroadcast_after: Duration,
    pub fee_per_gas_max_wei: u128,
    pub fee_per_transaction_max_wei: BigUint,
    pub fee_per_day_max_wei: BigUint,
    pub gas_limit_max: u64,
    /// By the name that requests use. At least one.
    pub assets: BTreeMap<String, AssetConfig>,
}

/// An account that pays, by what signs for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountConfig {
    Keystore {
        /// A file in the Web3 Secret Storage format.
        path: PathBuf,
        passphrase: Redacted,
    },
    Remote(RemoteSignerConfig),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetConfig {
    pub kind: AssetKind,
    pub decimals: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssetKind {
    /// The chain's own coin.
    Native,
    /// A token; `contract` is its address as it was written.
    Erc20 { contract: String },
}

const DEPTH: u64 = 12;
const SIGNER_TIMEOUT: Duration = Duration::from_secs(2);
/// An account is locked while its signer is waited for.
const SIGNER_TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(5);
/// What reth keeps of one sender, and what geth promises to keep.
const IN_FLIGHT_MAX: u64 = 16;
/// A dozen minutes on Ethereum.
const WATCH_BLOCKS: u64 = 64;
const RESEND_AFTER: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_secs(2);
const POLL_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);
const REBROADCAST_AFTER: Duration = Duration::from_secs(300);
/// A plain token transfer takes about 65,000; some tokens take more than twice that.
const GAS_LIMIT_MAX: u64 = 200_000;
const WAIT_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

pub(super) fn read_networks(root: &mut Section<'_>) -> Vec<NetworkConfig> {
    let mut networks: Vec<NetworkConfig> = Vec::new();
    for section in root.sections("networks") {
        let name = section.key("id");
        let Some(network) = read_network(section) else { continue };
        if networks.iter().any(|other| other.id == network.id) {
            root.error(&name, format!("{} is configured twice: keep one of them", network.id));
        }
        networks.push(network);
    }
    networks
}

fn read_network(mut section: Section<'_>) -> Option<NetworkConfig> {
    let had_id = section.has("id");
    let id = section.parsed("id", |text| text.parse::<Network>().map_err(|e| e.to_string()));
    if !had_id {
        section.missing::<()>("id", "id = \"eip155:1\"");
    }
    let rpc_urls = read_urls(&mut section, "rpc_urls", "rpc_urls_file", ["http", "https"])
        .or_else(|| section.missing("rpc_urls", "rpc_urls = [\"https://rpc.example\"]"));
    let ws_urls = read_urls(&mut section, "ws_urls", "ws_urls_file", ["ws", "wss"]);
    let nodes = rpc_urls.as_ref().map_or(0, Vec::len) as u64;
    let quorum = read_quorum(&mut section, nodes);
    let (finality, depth) = read_finality(&mut section);
    let accounts = read_accounts(&mut section);
    let spread = section.parsed("spread", |text| match text {
        "even" => Ok(Spread::Even),
        "in-order" => Ok(Spread::InOrder),
        other => Err(format!("{other:?} is no rule: write \"even\" or \"in-order\"")),
    });
    let in_flight_max = section.integer("in_flight_max", IN_FLIGHT_MAX, 1..=100_000);
    let watch_blocks = section.integer("watch_blocks", WATCH_BLOCKS, 0..=1_000_000);
    let resend_after = section.duration("resend_after", RESEND_AFTER, WAIT_RANGE);
    let rebroadcast_after = section.duration("rebroadcast_after", REBROADCAST_AFTER, WAIT_RANGE);
    let poll = section.duration("poll", POLL, POLL_RANGE);
    let per_gas = read_wei(&mut section, "fee_per_gas_max_wei", "100000000000").and_then(|wei| {
        let fits = u128::try_from(wei).ok();
        if fits.is_none() {
            section.error("fee_per_gas_max_wei", "is larger than any fee: correct it");
        }
        fits
    });
    let per_transaction =
        read_wei(&mut section, "fee_per_transaction_max_wei", "20000000000000000");
    let per_day = read_wei(&mut section, "fee_per_day_max_wei", "1000000000000000000");
    let gas_limit_max = section.integer("gas_limit_max", GAS_LIMIT_MAX, 21_000..=30_000_000);
    let assets = read_assets(&mut section);
    section.finish();
    Some(NetworkConfig {
        id: id?,
        rpc_urls: rpc_urls?,
        ws_urls: ws_urls.unwrap_or_default(),
        quorum,
        finality,
        depth,
        accounts: accounts?,
        spread: spread.unwrap_or_default(),
        in_flight_max,
        watch_blocks,
        resend_after,
        poll,
        rebroadcast_after,
        fee_per_gas_max_wei: per_gas?,
        fee_per_transaction_max_wei: per_transaction?,
        fee_per_day_max_wei: per_day?,
        gas_limit_max,
        assets,
    })
}

/// `rpc_urls`, or `rpc_urls_file` with one on each line, for providers whose key is in the URL;
/// and so with `ws_urls`. None where there is none.
fn read_urls(
    section: &mut Section<'_>,
    name: &'static str,
    file: &'static str,
    schemes: [&'static str; 2],
) -> Option<Vec<Redacted>> {
    let check = |text: &str| match url::Url::parse(text) {
        Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => {
            Ok(Redacted::new(text.to_owned()))
        }
        // The text is not repeated: it may hold a key.
        Ok(_) | Err(_) => Err(format!("is no {} or {} URL: correct it", schemes[0], schemes[1])),
    };
    let both = section.has(name) && section.has(file);
    let listed = section.list(name, check);
    let in_file = section.secret_file(file);
    if both {
        section.error(name, format!("is given beside {file}: keep one of them"));
    }
    let from_file = in_file.map(|text| {
        let lines = text.reveal().lines().map(str::trim).filter(|line| !line.is_empty());
        let urls: Result<Vec<_>, _> = lines.map(check).collect();
        urls.unwrap_or_else(|message| {
            section.error(file, format!("a line of the file {message}"));
            Vec::new()
        })
    });
    listed.or(from_file).filter(|urls| !urls.is_empty())
}

fn read_quorum(section: &mut Section<'_>, nodes: u64) -> Option<u64> {
    if !section.has("quorum") {
        let _ = section.take("quorum");
        return None;
    }
    Some(section.integer("quorum", 1, 1..=nodes.max(1)))
}

fn read_finality(section: &mut Section<'_>) -> (Finality, u64) {
    let finality = section.parsed("finality", |text| {
        let known = [Finality::Depth, Finality::Safe, Finality::Finalized];
        let named = known.into_iter().find(|finality| finality.name() == text);
        named.ok_or_else(|| {
            format!("{text:?} is no finality: write \"depth\", \"safe\" or \"finalized\"")
        })
    });
    let finality = finality.unwrap_or_default();
    if section.has("depth") && finality != Finality::Depth {
        section.error("depth", "belongs to finality = \"depth\" only: remove one of them");
    }
    (finality, section.integer("depth", DEPTH, 1..=100_000))
}

/// `[[networks.accounts]]`, or the keys of a single one in the network itself.
fn read_accounts(section: &mut Section<'_>) -> Option<Vec<AccountConfig>> {
    if !section.has("accounts") {
        let _ = section.take("accounts");
        return read_account(section).map(|account| vec![account]);
    }
    for name in ["keystore", "passphrase_file", "passphrase_env", "remote_signer"] {
        if section.take(name).is_some() {
            section.error(name, "is given beside accounts: keep one of them");
        }
    }
    let read = |mut section: Section<'_>| {
        let account = read_account(&mut section);
        section.finish();
        account
    };
    let accounts: Vec<_> = section.sections("accounts").into_iter().map(read).collect();
    if accounts.is_empty() {
        return section.missing("accounts", "[[networks.accounts]] with keystore");
    }
    accounts.into_iter().collect()
}

fn read_account(section: &mut Section<'_>) -> Option<AccountConfig> {
    if section.has("remote_signer") {
        for name in ["keystore", "passphrase_file", "passphrase_env"] {
            if section.take(name).is_some() {
                section.error(name, "is given beside remote_signer: keep one of them");
            }
        }
        return read_remote_signer(section.section("remote_signer")).map(AccountConfig::Remote);
    }
    let _ = section.take("remote_signer");
    let keystore = read_keystore(section);
    let passphrase = read_passphrase(section);
    Some(AccountConfig::Keystore { path: keystore?, passphrase: passphrase? })
}

/// The key is with a signer; none of it is here.
fn read_remote_signer(mut section: Section<'_>) -> Option<RemoteSignerConfig> {
    for needed in ["url", "public_key"] {
        if !section.has(needed) {
            section.missing::<()>(
                needed,
                "remote_signer = { url = \"https://…\", public_key = \"0x…\", … }",
            );
        }
    }
    let url = section.parsed("url", |text| match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        Ok(_) | Err(_) => Err("is no http or https URL: correct it".to_owned()),
    });
    let public_key = section.text("public_key");
    let ca_file = section.path("ca_file");
    let certificate = section.path("client_cert_file");
    let key = section.path("client_key_file");
    let timeout = section.duration("timeout", SIGNER_TIMEOUT, SIGNER_TIMEOUT_RANGE);
    if certificate.is_some() != key.is_some() {
        section.error("client_cert_file", "goes with client_key_file: give both or none");
    }
    let client = certificate.zip(key).map(|(certificate, key)| ClientFiles { certificate, key });
    section.finish();
    Some(RemoteSignerConfig { url: url?, public_key: public_key?, ca_file, client, timeout })
}

fn read_keystore(section: &mut Section<'_>) -> Option<PathBuf> {
    let Some(path) = section.path("keystore") else {
        return section.missing("keystore", "keystore = \"keys/eip155-1.json\"");
    };
    if !path.is_file() {
        section.error("keystore", format!("{} is no file: correct the path", path.display()));
        return None;
    }
    Some(path)
}

fn read_passphrase(section: &mut Section<'_>) -> Option<Redacted> {
    let given = (section.has("passphrase_file"), section.has("passphrase_env"));
    let from_file = section.secret_file("passphrase_file");
    let from_variable = section.secret_variable("passphrase_env");
    match given {
        (true, true) => {
            section.error("passphrase_env", "is given beside passphrase_file: keep one of them");
            None
        }
        (false, false) => section
            .missing("passphrase_file", "passphrase_file = \"keys/passphrase\", or passphrase_env"),
        (true, false) => from_file,
        (false, true) => from_variable,
    }
}

/// A sum of wei: a string, for TOML's integers end long before.
fn read_wei(section: &mut Section<'_>, name: &'static str, example: &str) -> Option<BigUint> {
    if !section.has(name) {
        let _ = section.take(name);
        return section.missing(name, &format!("{name} = \"{example}\""));
    }
    section.parsed(name, |text| {
        let digits =
            !text.is_empty() && text.len() <= 78 && text.bytes().all(|b| b.is_ascii_digit());
        let wei = if digits { text.parse::<BigUint>().ok() } else { None };
        wei.filter(|wei| *wei != BigUint::ZERO)
            .ok_or_else(|| "must be a whole number of wei, greater than zero, in quotes".to_owned())
    })
}

fn read_assets(section: &mut Section<'_>) -> BTreeMap<String, AssetConfig> {
    let missing = !section.has("assets");
    let mut assets = BTreeMap::new();
    for (name, asset) in section.section("assets").named_sections() {
        if let Some(asset) = read_asset(&name, asset) {
            assets.insert(name, asset);
        }
    }
    if missing {
        let example = "[networks.assets.ETH] with kind = \"native\" and decimals = 18";
        section.missing::<()>("assets", example);
    }
    assets
}

fn read_asset(name: &str, mut section: Section<'_>) -> Option<AssetConfig> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !(1..=32).contains(&name.len()) || !name.bytes().all(plain) {
        section.error("", "an asset's name needs 1 to 32 of A-Z, a-z, 0-9, '.', '_' and '-'");
    }
    let decimals = if section.has("decimals") {
        u8::try_from(section.integer("decimals", 18, 0..=36)).ok()
    } else {
        let _ = section.take("decimals");
        section.missing("decimals", "decimals = 18")
    };
    let has_kind = section.has("kind");
    let native = section.parsed("kind", |text| match text {
        "native" => Ok(true),
        "erc20" => Ok(false),
        other => Err(format!("{other:?} is no kind of asset: write \"native\" or \"erc20\"")),
    });
    if !has_kind {
        section.missing::<()>("kind", "kind = \"native\", or \"erc20\" with contract");
    }
    let contract = section.parsed("contract", |text| {
        let hex = text
            .strip_prefix("0x")
            .is_some_and(|hex| hex.len() == 40 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if hex { Ok(text.to_owned()) } else { Err("must be 0x and 40 hexadecimal digits".into()) }
    });
    let kind = match (native, contract) {
        (Some(true), None) => Some(AssetKind::Native),
        (Some(false), Some(contract)) => Some(AssetKind::Erc20 { contract }),
        (Some(true), Some(_)) => {
            section.error("contract", "belongs to kind = \"erc20\" only: remove it");
            None
        }
        (Some(false), None) => section.missing("contract", "contract = \"0x…\""),
        (None, _) => None,
    };
    section.finish();
    Some(AssetConfig { kind: kind?, decimals: decimals? })
}
