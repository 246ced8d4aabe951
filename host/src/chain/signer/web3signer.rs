//! A remote signer that speaks Web3Signer's `eth1` API: it is given the bytes of a transaction,
//! and answers a signature of their keccak-256 hash.
//!
//! The connection is TLS with a certificate authority of the operator's choice, and with a client
//! certificate of ours: who can speak to a signer can spend. Nothing else decides whom we speak to.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Signature, U256, hex};
use async_trait::async_trait;
use k256::elliptic_curve::sec1::ToEncodedPoint as _;
use reqwest::{Client, StatusCode, redirect};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use url::{Host, Url};

use super::{SIGN_MAX, Signer, SignerError};

/// A signature has 132 characters; an error some words.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

/// What is kept of a text that a signer sent.
const MESSAGE_CHARS_MAX: usize = 200;

/// A chain of certificates has some kilobytes.
const PEM_BYTES_MAX: u64 = 256 * 1024;

/// How to reach a key, and which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSignerConfig {
    /// `https`; on the machine itself `http` too. A path before the API's own is kept.
    pub url: Url,
    /// The public key of secp256k1, in hexadecimal: it names the key to the signer, and the
    /// account's address follows from it.
    pub public_key: String,
    /// Certificates of the authority that the signer's certificate is from. No other counts.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, and its key.
    pub client: Option<ClientFiles>,
    /// For one signature, from connecting to the last byte. At most 5 s: an account is locked
    /// meanwhile.
    pub timeout: Duration,
}

/// A client certificate, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why a remote signer cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum RemoteSignerError {
    #[error("remote_signer.{key}: {reason}")]
    Config { key: &'static str, reason: String },
}

pub(in crate::chain) struct RemoteSigner {
    /// Of the key's `sign` call.
    url: Url,
    /// Scheme, host and port.
    label: String,
    address: Address,
    client: Client,
}

impl fmt::Debug for RemoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteSigner")
            .field("signer", &self.label)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl RemoteSigner {
    /// Reads the certificates; the signer itself is not asked yet.
    ///
    /// # Errors
    /// Names the key of the configuration.
    pub(in crate::chain) fn open(config: &RemoteSignerConfig) -> Result<Self, RemoteSignerError> {
        let fault = |key, reason: String| RemoteSignerError::Config { key, reason };
        let (address, identifier) = account_of(&config.public_key)
            .ok_or_else(|| fault("public_key", "it is no public key of secp256k1".into()))?;
        if !is_protected(&config.url) {
            let reason = "https is needed, or http on the machine itself".to_owned();
            return Err(fault("url", reason));
        }
        if config.url.scheme() == "https" && (config.ca_file.is_none() || config.client.is_none()) {
            let reason = "https needs ca_file, client_cert_file and client_key_file".to_owned();
            return Err(fault("url", reason));
        }
        if config.timeout.is_zero() || config.timeout > SIGN_MAX {
            let reason = format!("it is above zero and at most {} s", SIGN_MAX.as_secs());
            return Err(fault("timeout", reason));
        }
        let mut url = config.url.clone();
        url.set_query(None);
        url.path_segments_mut()
            .map_err(|()| fault("url", "it has no path".into()))?
            .pop_if_empty()
            .extend(["api", "v1", "eth1", "sign", &identifier]);
        let client = Client::builder()
            .tls_backend_preconfigured(tls(config)?)
            .timeout(config.timeout)
            // What is configured is what is dialled.
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| fault("url", error.without_url().to_string()))?;
        let host = url.host_str().unwrap_or("?");
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let label = format!("{}://{host}{port}", url.scheme());
        Ok(Self { url, label, address, client })
    }

    async fn ask(&self, unsigned: &[u8]) -> Result<(StatusCode, Vec<u8>), reqwest::Error> {
        let body = json!({ "data": hex::encode_prefixed(unsigned) });
        let mut response = self.client.post(self.url.clone()).json(&body).send().await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            let room = ANSWER_BYTES_MAX - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if bytes.len() == ANSWER_BYTES_MAX {
                break;
            }
        }
        Ok((response.status(), bytes))
    }
}

#[async_trait]
impl Signer for RemoteSigner {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, unsigned: &[u8]) -> Result<Signature, SignerError> {
        let signer = || self.label.clone();
        let (status, bytes) = self.ask(unsigned).await.map_err(|error| SignerError::Away {
            signer: signer(),
            cause: describe(&error.without_url()),
        })?;
        let text = String::from_utf8_lossy(&bytes);
        if status.is_success() {
            return signature(&text).ok_or_else(|| SignerError::Unreadable { signer: signer() });
        }
        let said: String = text.trim().chars().take(MESSAGE_CHARS_MAX).collect();
        let cause = match status {
            StatusCode::NOT_FOUND => "it has no such key".to_owned(),
            status => format!("HTTP status {}: {said}", status.as_u16()),
        };
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            Err(SignerError::Away { signer: signer(), cause })
        } else {
            Err(SignerError::Refused { signer: signer(), cause })
        }
    }
}

/// `r`, `s` and the parity as 27 or 28, in hexadecimal: the whole answer, in quotes or not.
fn signature(text: &str) -> Option<Signature> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let bytes: [u8; 65] = hex::decode(text.strip_prefix("0x")?).ok()?.try_into().ok()?;
    let parity = match bytes[64] {
        0 | 27 => false,
        1 | 28 => true,
        _ => return None,
    };
    let r = U256::from_be_slice(&bytes[..32]);
    let s = U256::from_be_slice(&bytes[32..64]);
    Some(Signature::new(r, s, parity))
}

/// The account of a public key, and the key as a signer lists it: without its first byte.
fn account_of(text: &str) -> Option<(Address, String)> {
    let bytes = hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok()?;
    let encoded = match bytes.len() {
        64 => [&[4_u8], bytes.as_slice()].concat(),
        33 | 65 => bytes,
        _ => return None,
    };
    let key = k256::PublicKey::from_sec1_bytes(&encoded).ok()?;
    let point = key.to_encoded_point(false);
    let coordinates = point.as_bytes().get(1..)?;
    let hash: B256 = alloy_primitives::keccak256(coordinates);
    Some((Address::from_slice(&hash[12..]), hex::encode_prefixed(coordinates)))
}

/// Nobody on the way can read or change what is said.
fn is_protected(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        ("http", Some(Host::Domain(name))) => name == "localhost",
        _ => false,
    }
}

fn tls(config: &RemoteSignerConfig) -> Result<ClientConfig, RemoteSignerError> {
    let fault = |key, reason: String| RemoteSignerError::Config { key, reason };
    // Only the operator's authority: what the system trusts may not speak for a signer.
    let mut roots = RootCertStore::empty();
    if let Some(path) = &config.ca_file {
        for certificate in certificates(path).map_err(|reason| fault("ca_file", reason))? {
            roots.add(certificate).map_err(|error| fault("ca_file", error.to_string()))?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("url", error.to_string()))?
        .with_root_certificates(roots);
    let Some(client) = &config.client else { return Ok(builder.with_no_client_auth()) };
    let chain =
        certificates(&client.certificate).map_err(|reason| fault("client_cert_file", reason))?;
    let key = private_key(&client.key).map_err(|reason| fault("client_key_file", reason))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| fault("client_cert_file", error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(format!("{} holds no certificate in PEM", path.display())),
    }
}

/// Never says anything of the key.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let file = File::open(path).map_err(|e| format!("{} cannot be read: {e}", path.display()))?;
    super::keystore::refuse_exposed(path, &file).map_err(|error| error.to_string())?;
    let text = zeroize::Zeroizing::new(read(path)?);
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| format!("{} holds no private key in PEM", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(PEM_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The error and what caused it.
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "web3signer_test.rs"]
mod tests;
