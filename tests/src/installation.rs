//! A folder with everything that `tidegate serve` is started with, made as an operator makes it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::api::Api;
use crate::command_line::tidegate;
use crate::components::component;
use crate::host::Host;
use crate::manifest::Manifest;

const PASSPHRASE: &str = "for this test only";
/// What the partner asks for.
pub const PARTNER_KEY: &str = "the-partners-key";

/// The flow without publications, for hosts without a broker.
pub const QUIET_FLOW: &str = r#"
[flow]
requested = ["PARTNER_SYNC_REQUESTED", "BLOCKCHAIN_BROADCAST_REQUESTED"]
broadcasted = ["PARTNER_SYNC_REQUESTED"]
confirmed = ["PARTNER_SYNC_REQUESTED"]
failed = ["PARTNER_SYNC_REQUESTED"]
"#;

/// The installation of one host.
#[derive(Debug)]
pub struct Installation {
    folder: TempDir,
    token: String,
    /// The account that pays.
    account: String,
    sections: String,
}

impl Installation {
    /// Keys, a token with every role, and the settings of an impatient operator; no network, no
    /// broker, no plugin yet.
    ///
    /// # Panics
    /// The folder cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("plugins")).unwrap();
        std::fs::write(at("passphrase"), PASSPHRASE).unwrap();
        std::fs::write(at("partner-key"), PARTNER_KEY).unwrap();
        let path = |name: &str| at(name).display().to_string();
        let (file, passphrase) = (path("keystore.json"), path("passphrase"));
        let made =
            tidegate(&["keystore", "new", "--file", &file, "--passphrase-file", &passphrase]);
        assert_eq!(made.code, 0, "{made:?}");
        let account = made.out.lines().next().expect("the command prints the address").to_owned();
        let made = tidegate(&[
            "token", "new", "--name", "test", "--role", "submit", "--role", "read", "--role",
            "operate", "--role", "deploy",
        ]);
        assert_eq!(made.code, 0, "{made:?}");
        let token = made.out.split_whitespace().find(|word| word.starts_with("tidegate_"));
        let token = token.expect("the command prints a token").to_owned();
        let lines = made.out.split("For tidegate.toml:").nth(1).expect("and lines to keep");
        let sections = format!(
            "listen = \"127.0.0.1:0\"\n{lines}\n\
             [dispatch]\nlease = \"5s\"\npoll = \"100ms\"\ngrace = \"5s\"\n\
             [secrets]\nPARTNER_API_KEY = {{ file = \"partner-key\" }}\n"
        );
        Self { folder, token, account, sections }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Adds lines to the configuration.
    #[must_use]
    pub fn with(mut self, section: &str) -> Self {
        self.sections.push_str(section);
        self.sections.push('\n');
        self
    }

    #[must_use]
    pub fn with_sqlite(self) -> Self {
        self.with("[store]\nurl = \"sqlite:tidegate.db\"")
    }

    /// Where [`Self::with_sqlite`] keeps everything.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.path().join("tidegate.db")
    }

    /// A network whose payments are final after two blocks; `token` is the contract of USDC.
    #[must_use]
    pub fn with_network(self, id: &str, rpc_url: &str, token: &str) -> Self {
        self.with(&format!(
            r#"
[[networks]]
id = "{id}"
rpc_urls = ["{rpc_url}"]
depth = 2
poll = "200ms"
resend_after = "2s"
rebroadcast_after = "10s"
keystore = "keystore.json"
passphrase_file = "passphrase"
fee_per_gas_max_wei = "1000000000000"
fee_per_transaction_max_wei = "1000000000000000000"
fee_per_day_max_wei = "1000000000000000000000"
[networks.assets.ETH]
kind = "native"
decimals = 18
[networks.assets.USDC]
kind = "erc20"
contract = "{token}"
decimals = 6
"#
        ))
    }

    /// Puts a plugin into its place.
    ///
    /// # Panics
    /// It cannot be written.
    pub async fn add(&self, manifest: &Manifest) {
        let folder = self.path().join("plugins").join(manifest.name());
        std::fs::create_dir(&folder).unwrap();
        let wasm = component(&manifest.package).await;
        std::fs::copy(wasm, folder.join("component.wasm")).unwrap();
        std::fs::write(folder.join("plugin.toml"), manifest.text()).unwrap();
    }

    /// Writes `tidegate.toml`, and gives its path.
    ///
    /// # Panics
    /// It cannot be written.
    #[must_use]
    pub fn write(&self) -> PathBuf {
        let file = self.path().join("tidegate.toml");
        let mut text = String::new();
        let _ = writeln!(text, "# An operator's, for a test.\n{}", self.sections);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Starts the host.
    pub async fn serve(&self) -> (Host, Api) {
        self.serve_with(&[]).await
    }

    /// The same, with variables in its environment.
    pub async fn serve_with(&self, environment: &[(String, String)]) -> (Host, Api) {
        let _ = self.write();
        let host = Host::serve_with(self.path(), environment).await;
        let api = self.api(&host);
        (host, api)
    }

    #[must_use]
    pub fn api(&self, host: &Host) -> Api {
        Api::new(&host.url(), &self.token)
    }
}

impl Default for Installation {
    fn default() -> Self {
        Self::new()
    }
}
