//! The configuration, from a text and an environment.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::api::Role;
use crate::chain::Finality;

struct Folder {
    dir: tempfile::TempDir,
    variables: BTreeMap<String, String>,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("key.json", "{}"), ("pass", "hunter2\n"), ("url", "postgres://u:hunter2@h/d\n")]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Self { dir, variables: BTreeMap::new() }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    fn read(&self, text: &str) -> Result<Config, ConfigErrors> {
        Config::read("tidegate.toml".into(), text.into(), self.dir.path(), &self.variables)
    }

    fn errors(&self, text: &str) -> String {
        self.read(text).map_or_else(|errors| errors.to_string(), |config| format!("{config:?}"))
    }
}

const STORE: &str = "[store]\nurl = \"sqlite:x.db\"\n";

const FULL: &str = r#"
listen = "0.0.0.0:9000"

[http]
body_max = "128KiB"
request_timeout = "5s"
requests_max = 64
backlog_age_max = "5m"

[metrics]
access = "open"

[store]
url = "postgres://u:hunter2@db/tidegate"
connections_max = 20

[[tokens]]
name = "shop"
sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
roles = ["submit", "read"]

[plugins]
dir = "plugins"
cache_dir = "cache"

[dispatch]
lease = "1m"
poll = "500ms"
grace = "10s"
batch = 100

[retention]
finished_events = "30d"
idempotency_keys = "never"
releases = 5

[flow]
requested = ["BLOCKCHAIN_BROADCAST_REQUESTED", "AUDIT_REQUESTED"]
failed = []

[[networks]]
id = "eip155:1"
rpc_urls = ["https://rpc.example/hunter2", "https://node.example"]
ws_urls = ["wss://rpc.example/hunter2"]
quorum = 1
finality = "depth"
depth = 20
keystore = "key.json"
passphrase_file = "pass"
resend_after = "10s"
rebroadcast_after = "2m"
fee_per_gas_max_wei = "100000000000"
fee_per_transaction_max_wei = "20000000000000000"
fee_per_day_max_wei = "340282366920938463463374607431768211456"
gas_limit_max = 100000

[networks.assets.ETH]
kind = "native"
decimals = 18

[networks.assets.USDC]
kind = "erc20"
contract = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
decimals = 6

[broker]
kind = "nats"
url = "nats://u:hunter2@broker:4222"
stream = "PAYOUTS"

[secrets]
PARTNER_API_KEY = { env = "PARTNER_KEY" }
OTHER = { file = "pass" }
VAULT = { command = ["vault", "read"], ttl = "1m" }

[audit]
file = "audit.jsonl"
file_max = "2MiB"
files = 3

[log]
format = "json"
filter = "info,tidegate::jobs=debug"
"#;

#[test]
fn a_full_configuration_is_read() {
    let config = Folder::new().with("PARTNER_KEY", "hunter2").read(FULL).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:9000");
    assert_eq!(config.http.body_bytes_max, 128 * 1024);
    assert_eq!(config.http.backlog_age_max, Some(Duration::from_secs(300)));
    assert!(config.http.metrics_open);
    assert_eq!(config.store.connections_max, 20);
    let token = &config.tokens.as_slice()[0];
    assert_eq!(
        (token.name.as_str(), token.roles.as_slice()),
        ("shop", &[Role::Submit, Role::Read][..])
    );
    assert_eq!(config.dispatch.lease, Duration::from_secs(60));
    let month = Duration::from_secs(30 * 24 * 60 * 60);
    assert_eq!(config.retention.finished_events, Some(month));
    assert_eq!(config.retention.idempotency_keys, None);
    assert_eq!(config.retention.releases, Some(5));
    let requested = config.flow.event_types(crate::domain::WithdrawalStatus::Requested);
    assert_eq!(requested.len(), 2);
    assert!(config.flow.event_types(crate::domain::WithdrawalStatus::Failed).is_empty());
    let network = &config.networks[0];
    assert!(matches!(
        &network.accounts[0],
        AccountConfig::Keystore { passphrase, .. } if passphrase.reveal() == "hunter2"
    ));
    assert_eq!((network.quorum, network.finality), (Some(1), Finality::Depth));
    assert_eq!(network.assets["ETH"].kind, AssetKind::Native);
    assert!(matches!(network.assets["USDC"].kind, AssetKind::Erc20 { .. }));
    assert!(matches!(&config.broker, BrokerConfig::Nats { stream, .. } if stream == "PAYOUTS"));
    let value = SecretConfig::Value(Redacted::new("hunter2".into()));
    assert_eq!(config.secrets["PARTNER_API_KEY"], value);
    assert!(matches!(&config.secrets["OTHER"], SecretConfig::File(path) if path.ends_with("pass")));
    let command = SecretCommand {
        arguments: vec!["vault".into(), "read".into()],
        ttl: Duration::from_secs(60),
        timeout: Duration::from_secs(5),
    };
    assert_eq!(config.secrets["VAULT"], SecretConfig::Command(command));
    assert!(config.audit.file.as_ref().is_some_and(|file| file.ends_with("audit.jsonl")));
    assert_eq!((config.audit.file_bytes_max, config.audit.files), (2 << 20, 3));
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn no_secret_is_seen_in_debug() {
    let config = Folder::new().with("PARTNER_KEY", "hunter2").read(FULL).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_store_is_all_that_is_needed() {
    let config = Folder::new().read(STORE).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.flow, Flow::default());
    assert_eq!(config.broker, BrokerConfig::None);
    assert!(config.networks.is_empty());
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = "listen = 8080\nlissen = \"x\"\n[store]\nurl = \"mysql://h\"\n[dispatch]\n\
                batch = 0\nlease = \"10\"\n[log]\nformat = \"xml\"\n[surprise]\na = 1\n";
    assert_eq!(
        Folder::new().errors(text),
        "tidegate.toml:1:10: listen: must be a string, and is an integer\n\
         tidegate.toml:2:1: lissen: is no key here: the keys are listen, http, metrics, store, tokens, \
         plugins, dispatch, retention, flow, networks, policies, broker, secrets, audit, log\n\
         tidegate.toml:3:1: store.url: must begin with sqlite: or postgres:\n\
         tidegate.toml:6:9: dispatch.batch: must be an integer from 1 to 1000\n\
         tidegate.toml:7:9: dispatch.lease: \"10\" is no duration: write a whole number and one of \
         ms, s, m, h, d, such as \"10s\"\n\
         tidegate.toml:9:10: log.format: \"xml\" is no format: write \"text\" or \"json\"\n\
         tidegate.toml:10:2: surprise: is no key here: the keys are listen, http, metrics, store, tokens, \
         plugins, dispatch, retention, flow, networks, policies, broker, secrets, audit, log"
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let errors = Folder::new().read("[store]\nurl = \n").unwrap_err();
    assert_eq!((errors.0[0].line, errors.0[0].source.as_str()), (Some(2), "tidegate.toml"));
    assert!(errors.0[0].message.starts_with("this is no TOML"), "{errors}");
    assert!(Folder::new().read("a = 1\na = 2\n").is_err());
}

#[test]
fn each_wrong_value_is_an_error_that_names_its_key() {
    let network = "[[networks]]\nid = \"eip155:1\"\nrpc_urls = [\"http://h\"]\n\
                   keystore = \"key.json\"\npassphrase_file = \"pass\"\n\
                   fee_per_gas_max_wei = \"1\"\nfee_per_transaction_max_wei = \"1\"\n\
                   fee_per_day_max_wei = \"1\"\n[networks.assets.ETH]\nkind = \"native\"\n\
                   decimals = 18\n";
    let good = format!("{STORE}{network}");
    assert!(Folder::new().read(&good).is_ok(), "{}", Folder::new().errors(&good));
    for (from, to, key) in [
        ("url = \"sqlite:x.db\"", "", "store.url"),
        ("url = \"sqlite:x.db\"", "url = \"sqlite:x\"\nurl_file = \"url\"", "store.url"),
        ("url = \"sqlite:x.db\"", "url_file = \"none\"", "store.url_file"),
        ("x.db\"", "x.db\"\npooler = \"session\"", "store.pooler"),
        ("x.db\"", "x.db\"\nwait = \"2h\"", "store.wait"),
        ("id = \"eip155:1\"", "", "networks[0].id"),
        ("id = \"eip155:1\"", "id = \"ethereum\"", "networks[0].id"),
        ("rpc_urls = [\"http://h\"]", "", "networks[0].rpc_urls"),
        ("rpc_urls = [\"http://h\"]", "rpc_urls = []", "networks[0].rpc_urls"),
        ("rpc_urls = [\"http://h\"]", "rpc_urls = [\"ftp://h\"]", "networks[0].rpc_urls[0]"),
        ("rpc_urls = [\"http://h\"]", "rpc_urls = [1]", "networks[0].rpc_urls[0]"),
        ("keystore = ", "ws_urls = [\"http://h\"]\nkeystore = ", "networks[0].ws_urls[0]"),
        (
            "keystore = \"key.json\"\npassphrase_file = \"pass\"",
            "remote_signer = { url = \"https://s\" }",
            "networks[0].remote_signer.public_key",
        ),
        (
            "keystore = ",
            "remote_signer = { url = \"https://s\", public_key = \"0x\" }\nkeystore = ",
            "networks[0].keystore",
        ),
        (
            "keystore = \"key.json\"\npassphrase_file = \"pass\"",
            "remote_signer = { url = \"https://s\", public_key = \"0x\", timeout = \"6s\" }",
            "networks[0].remote_signer.timeout",
        ),
        ("keystore = ", "quorum = 2\nkeystore = ", "networks[0].quorum"),
        ("keystore = ", "quorum = 0\nkeystore = ", "networks[0].quorum"),
        ("keystore = ", "finality = \"soon\"\nkeystore = ", "networks[0].finality"),
        ("keystore = ", "finality = \"safe\"\ndepth = 3\nkeystore = ", "networks[0].depth"),
        ("keystore = \"key.json\"", "keystore = \"none\"", "networks[0].keystore"),
        ("keystore = \"key.json\"", "", "networks[0].keystore"),
        ("keystore = \"key.json\"", "spread = \"all\"", "networks[0].spread"),
        (
            "[networks.assets.ETH]",
            "[[networks.accounts]]\nkeystore = \"key.json\"\n[networks.assets.ETH]",
            "networks[0].accounts[0].passphrase_file",
        ),
        (
            "[networks.assets.ETH]",
            "[[networks.accounts]]\nkeystore = \"key.json\"\n[networks.assets.ETH]",
            "networks[0].keystore",
        ),
        ("passphrase_file = \"pass\"", "", "networks[0].passphrase_file"),
        ("passphrase_file = \"pass\"", "passphrase = \"x\"", "networks[0].passphrase"),
        ("passphrase_file = \"pass\"", "passphrase_env = \"NONE\"", "networks[0].passphrase_env"),
        ("fee_per_gas_max_wei = \"1\"", "", "networks[0].fee_per_gas_max_wei"),
        (
            "fee_per_gas_max_wei = \"1\"",
            "fee_per_gas_max_wei = 1",
            "networks[0].fee_per_gas_max_wei",
        ),
        (
            "fee_per_day_max_wei = \"1\"",
            "fee_per_day_max_wei = \"1e9\"",
            "networks[0].fee_per_day_max_wei",
        ),
        (
            "fee_per_day_max_wei = \"1\"",
            "fee_per_day_max_wei = \"0\"",
            "networks[0].fee_per_day_max_wei",
        ),
        ("kind = \"native\"", "", "networks[0].assets.ETH.kind"),
        ("kind = \"native\"", "kind = \"erc20\"", "networks[0].assets.ETH.contract"),
        ("kind = \"native\"", "kind = \"erc721\"", "networks[0].assets.ETH.kind"),
        ("decimals = 18", "", "networks[0].assets.ETH.decimals"),
        ("decimals = 18", "decimals = 99", "networks[0].assets.ETH.decimals"),
        ("decimals = 18", "decimals = 18\nscale = 1", "networks[0].assets.ETH.scale"),
    ] {
        let errors = Folder::new().read(&good.replace(from, to)).unwrap_err();
        assert!(errors.0.iter().any(|error| error.key == key), "{to:?} → {key}: {errors}");
        assert!(errors.0.iter().all(|error| error.line.is_some()), "{errors}");
    }
}

#[test]
fn each_wrong_section_is_an_error_that_names_its_key() {
    let digest = "a".repeat(64);
    for (text, key) in [
        ("[[tokens]]\nname = \"a\"\nroles = []\n".to_owned(), "tokens[0].sha256"),
        (
            format!("[[tokens]]\nname = \"a\"\nsha256 = \"{digest}\"\nroles = [\"root\"]\n"),
            "tokens[0].roles[0]",
        ),
        (
            "[[tokens]]\nname = \"a\"\nsha256 = \"xyz\"\nroles = [\"read\"]\n".into(),
            "tokens[0].sha256",
        ),
        ("[tokens]\nname = \"a\"\n".into(), "tokens"),
        ("[flow]\nrequested = [\"WITHDRAWAL_REQUESTED\"]\n".into(), "flow"),
        ("[flow]\nfailed = [\"lower\"]\n".into(), "flow.failed[0]"),
        ("[flow]\nfailed = \"X\"\n".into(), "flow.failed"),
        ("[broker]\nkind = \"kafka\"\n".into(), "broker.kind"),
        ("[broker]\nkind = \"nats\"\n".into(), "broker.url"),
        ("[broker]\nkind = \"none\"\nurl = \"x\"\n".into(), "broker.url"),
        ("[secrets]\nA = \"inline\"\n".into(), "secrets.A"),
        ("[secrets]\nA = { env = \"NONE\" }\n".into(), "secrets.A.env"),
        ("[secrets]\nA = { file = \"none\" }\n".into(), "secrets.A.file"),
        ("[secrets]\nA = { }\n".into(), "secrets.A"),
        ("[secrets]\nA = { command = [] }\n".into(), "secrets.A.command"),
        ("[secrets]\nA = { command = [\"x\"], env = \"PATH\" }\n".into(), "secrets.A"),
        ("[secrets]\nA = { command = [\"x\"], ttl = \"0s\" }\n".into(), "secrets.A.ttl"),
        ("[secrets]\nA = { file = \"pass\", ttl = \"1m\" }\n".into(), "secrets.A.ttl"),
        ("[audit]\nfiles = 2\n".into(), "audit.files"),
        ("[audit]\nfile = \"a\"\nfile_max = \"1KiB\"\n".into(), "audit.file_max"),
        ("[plugins]\ndir = \"p\"\ncache_dir = \"p/cache\"\n".into(), "plugins.cache_dir"),
        ("[http]\nbody_max = \"1GiB\"\n".into(), "http.body_max"),
        ("[log]\nfilter = \"tidegate=loud\"\n".into(), "log.filter"),
    ] {
        let errors = Folder::new().read(&format!("{STORE}{text}")).unwrap_err();
        assert!(errors.0.iter().any(|error| error.key == key), "{text} → {key}: {errors}");
    }
}

#[test]
fn two_tokens_of_one_name_are_an_error() {
    let token = |digit: &str| {
        let digest = digit.repeat(64);
        format!("[[tokens]]\nname = \"a\"\nsha256 = \"{digest}\"\nroles = [\"read\"]\n")
    };
    let errors = Folder::new().errors(&format!("{STORE}{}{}", token("1"), token("2")));
    assert!(errors.contains("two tokens are named \"a\""), "{errors}");
}

#[test]
fn variables_win_over_the_file() {
    let folder = Folder::new()
        .with("TIDEGATE_LISTEN", "127.0.0.1:1")
        .with("TIDEGATE_STORE__URL", "sqlite:y.db")
        .with("TIDEGATE_STORE_CONNECTIONS_MAX", "3")
        .with("TIDEGATE_LOG__FORMAT", "json")
        .with("TIDEGATE_TOKEN", "the client's own")
        .with("HOME", "/");
    let config = folder.read("listen = \"127.0.0.1:2\"\n[store]\nurl_file = \"none\"\n").unwrap();
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.store.url.reveal(), "sqlite:y.db");
    assert_eq!(config.store.connections_max, 3);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn a_secret_may_lie_in_a_file() {
    let config = Folder::new().read("[store]\nurl_file = \"url\"\n").unwrap();
    assert_eq!(config.store.url.reveal(), "postgres://u:hunter2@h/d");
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let folder = Folder::new()
        .with("TIDEGATE_LISTEN", "nowhere")
        .with("TIDEGATE_STORE__ULR", "x")
        .with("TIDEGATE_DISPATCH__BATCH", "1")
        .with("TIDEGATE_DISPATCH_BATCH", "2");
    let errors = folder.errors(STORE);
    assert!(errors.contains("TIDEGATE_LISTEN: listen: \"nowhere\" is no address"), "{errors}");
    assert!(errors.contains("TIDEGATE_STORE__ULR: names no key"), "{errors}");
    assert!(errors.contains("TIDEGATE_DISPATCH_BATCH sets the same key"), "{errors}");
}

/// The README's block of TOML that begins with this line.
fn readme_example(begins: &str) -> &'static str {
    include_str!("../../../../README.md")
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(block, _)| block))
        .find(|block| block.starts_with(begins))
        .unwrap_or_else(|| panic!("the README has no example that begins with {begins}"))
}

const POLICED: &str = r#"
[[tokens]]
name = "ann"
sha256 = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
roles = ["approve"]

[policies]
approval_ttl = "2h"

[[policies.amounts]]
asset = "ETH"
network = "eip155:1"
amount_max = "50.5"

[[policies.windows]]
per = "account"
asset = "ETH"
window = "1h"
sum_max = "100"

[[policies.destinations]]
network = "eip155:1"
allow = ["0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"]
cooling_off = "1d"

[[policies.approvals]]
asset = "ETH"
above = "10"
approvers = ["ann"]

[policies.external]
url = "https://risk.example/decide?key=hunter2"
secret = "hunter2hunter2hunter2"
"#;

#[test]
fn policies_are_read_and_their_secret_is_never_shown() {
    let folder = Folder::new();
    let config = folder.read(&format!("{STORE}{POLICED}")).unwrap();
    let policies = &config.policies.policies;
    let rules = policies.rules();
    assert_eq!(rules.approval_ttl, Duration::from_secs(7_200));
    assert_eq!(rules.amounts[0].amount_max.to_string(), "50.5");
    assert_eq!(rules.windows[0].per.as_str(), "account");
    assert_eq!(rules.destinations[0].allow.as_ref().unwrap().len(), 1);
    assert_eq!((rules.approvals[0].approvals, rules.approvals[0].approvers.len()), (1, 1));
    let external = config.policies.external.as_ref().unwrap();
    assert_eq!(external.timeout, Duration::from_secs(3));
    assert!(!format!("{external:?}").contains("hunter2hunter2"), "{external:?}");
    let none = folder.read(STORE).unwrap().policies;
    assert!(none.policies.is_empty() && none.external.is_none());
    assert_ne!(none.policies.version(), policies.version());
}

#[test]
fn all_that_is_wrong_with_policies_is_told_at_once() {
    let wrong = r#"
[[policies.amounts]]
asset = "ETH"
network = "mainnet"
amount_max = "-1"
[[policies.windows]]
per = "planet"
window = "1s"
[[policies.destinations]]
network = "eip155:1"
deny = ["0x12"]
[[policies.destinations]]
network = "eip155:1"
[[policies.approvals]]
asset = "ETH"
above = "1"
approvals = 2
approvers = ["nobody"]
[policies.external]
url = "ftp://hunter2"
secret = "short"
[policies.more]
"#;
    let told = Folder::new().errors(&format!("{STORE}{wrong}"));
    for part in [
        "policies.amounts[0].network",
        "policies.amounts[0].amount_max",
        "policies.windows[0].per",
        "policies.windows[0].asset",
        "policies.windows[0].window",
        "policies.windows[0].sum_max",
        "policies.destinations[0].deny[0]",
        "eip155:1 has two lists",
        "policies.approvals[0].approvers[0]",
        "asks for 2 approvals, and 0 can approve",
        "policies.external.url",
        "policies.external.secret",
        "policies.more",
    ] {
        assert!(told.contains(part), "{part} is not told:\n{told}");
    }
    assert!(!told.contains("hunter2") && !told.contains("short\""), "{told}");
}

#[test]
fn the_example_of_the_readme_holds_and_shows_the_defaults() {
    let folder = Folder::new().with("PARTNER_API_KEY", "hunter2");
    let keys = folder.dir.path().join("keys");
    std::fs::create_dir(&keys).unwrap();
    std::fs::write(keys.join("eip155-1.json"), "{}").unwrap();
    std::fs::write(keys.join("passphrase"), "hunter2\n").unwrap();
    std::fs::write(keys.join("policy"), "0123456789abcdef\n").unwrap();
    let example = readme_example("# tidegate.toml");
    let config = folder.read(example).unwrap_or_else(|errors| panic!("{errors}"));

    let defaults = folder.read(STORE).unwrap();
    assert_eq!(config.listen, defaults.listen);
    assert_eq!(config.http, defaults.http);
    assert_eq!(config.store.connections_max, defaults.store.connections_max);
    assert_eq!(config.plugins, defaults.plugins);
    assert_eq!(config.dispatch, defaults.dispatch);
    assert_eq!(config.retention, defaults.retention);
    assert_eq!(config.flow, defaults.flow);
    assert_eq!(config.log, defaults.log);
    let optional = ["depth", "gas_limit_max", "resend_after", "rebroadcast_after", "stream"];
    let optional =
        optional.into_iter().chain(["subject_prefix", "approval_ttl", "timeout", "holds"]);
    let bare = without_keys(example, &optional.collect::<Vec<_>>());
    let bare = folder.read(&bare).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.networks, bare.networks);
    assert_eq!(config.broker, bare.broker);
    assert_eq!(config.policies, bare.policies);
}

/// The text without the lines that set one of these keys.
fn without_keys(text: &str, keys: &[&str]) -> String {
    let sets = |line: &str| keys.iter().any(|key| line.starts_with(&format!("{key} =")));
    text.lines().filter(|line| !sets(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_readme_tells_of_every_key_that_a_variable_can_set() {
    let readme = include_str!("../../../../README.md");
    for key in source::VARIABLES {
        assert!(readme.contains(&format!("| `{key}` |")), "{key}");
    }
}
