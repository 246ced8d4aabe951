//! Who a `dev` host is: its paying account, its tokens, and what the partner knows it by. Made once,
//! kept in the data directory, readable by its owner only.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use alloy_primitives::Address;

use super::super::error::CliError;
use super::super::token::generate_token;
use crate::api::{Role, Token, Tokens, token_digest};
use crate::chain::{self, Passphrase};

pub(super) struct Identity {
    pub(super) folder: PathBuf,
    pub(super) token: String,
    pub(super) partner_api_key: String,
    pub(super) keystore: PathBuf,
    pub(super) passphrase: Passphrase,
    pub(super) account: Address,
}

impl Identity {
    pub(super) async fn load_or_create(data_dir: &Path) -> Result<Self, CliError> {
        let folder = data_dir.join("identity");
        let at = folder.clone();
        // The key's file is encrypted on purpose slowly.
        let made = tokio::task::spawn_blocking(move || Self::in_folder(at)).await;
        made.map_err(|error| {
            CliError::failed(error.to_string(), folder.display().to_string(), "try again")
        })?
    }

    fn in_folder(folder: PathBuf) -> Result<Self, CliError> {
        let failed = |what: String| {
            let remedy = "remove the data directory to begin anew";
            CliError::failed(what, folder.display().to_string(), remedy)
        };
        std::fs::create_dir_all(&folder).map_err(|error| failed(error.to_string()))?;
        let secret = |name: &str| secret_file(&folder.join(name));
        let token = secret("token")?;
        let partner_api_key = secret("partner-api-key")?;
        let passphrase = Passphrase::new(secret("passphrase")?);
        let keystore = folder.join("keystore.json");
        let address = if keystore.exists() {
            chain::keystore_address(&keystore, &passphrase)
        } else {
            chain::create_keystore(&keystore, &passphrase)
        };
        let address = address.map_err(|error| failed(error.to_string()))?;
        let account = address.parse().map_err(|_| failed(format!("{address} is no address")))?;
        Ok(Self { token, partner_api_key, keystore, passphrase, account, folder })
    }

    /// What the API lets in: the token's hash, with every role.
    pub(super) fn tokens(&self) -> Result<Tokens, CliError> {
        let token = Token {
            name: "dev".to_owned(),
            sha256: token_digest(&self.token),
            roles: vec![Role::Submit, Role::Read, Role::Operate],
        };
        Tokens::new(vec![token])
            .map_err(|error| CliError::failed(error.to_string(), "this build", "report it"))
    }
}

/// The text of a file that only its owner can read; a random one if there is no such file.
fn secret_file(path: &Path) -> Result<String, CliError> {
    let failed = |error: std::io::Error| {
        CliError::failed(error.to_string(), path.display().to_string(), "check its owner and mode")
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = generate_token()?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(failed)?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}
