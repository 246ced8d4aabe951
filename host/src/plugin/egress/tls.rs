//! TLS of one policy: whom it believes, and whom it says to be. Sessions are kept with the
//! configuration, so they are never shared between plugins or policies.

use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::grants::{ConnectionPolicy, PemSource};
use super::super::services::SecretSource;

/// Of a file with certificates or a key.
const PEM_BYTES_MAX: u64 = 1 << 20;

pub(super) struct Tls {
    ca: Option<PemSource>,
    certificate: Option<PemSource>,
    key: Option<PemSource>,
    secrets: Arc<dyn SecretSource>,
    built: Mutex<Option<Built>>,
}

struct Built {
    /// Of all that it was built of: mounted files are renewed while the host runs.
    digest: [u8; 32],
    config: Arc<ClientConfig>,
}

/// The texts of one moment.
#[derive(Default)]
struct Material {
    ca: Option<String>,
    client: Option<(String, String)>,
}

impl Tls {
    pub(super) fn new(policy: &ConnectionPolicy, secrets: Arc<dyn SecretSource>) -> Self {
        Self {
            ca: policy.ca.clone(),
            certificate: policy.client.as_ref().map(|client| client.certificate.clone()),
            key: policy.client.as_ref().map(|client| client.key.clone()),
            secrets,
            built: Mutex::new(None),
        }
    }

    /// Reads what lies in files, so that a mistake shows when the plugin is loaded. Blocks.
    pub(super) fn check(&self) -> Result<(), String> {
        for (source, what) in
            [(&self.ca, "ca"), (&self.certificate, "client_certificate"), (&self.key, "client_key")]
        {
            let text = match source {
                Some(PemSource::File(path)) => read_file(path),
                Some(PemSource::Inline(text)) => Ok(text.clone()),
                // Secrets may come later, and are told by the request that needs them.
                Some(PemSource::Secret(_)) | None => continue,
            };
            let parsed = text.and_then(|text| match what {
                "client_key" => key(&text).map(drop),
                _ => certificates(&text).map(drop),
            });
            parsed.map_err(|error| format!("{what}: {error}"))?;
        }
        Ok(())
    }

    /// Shakes hands with who must be `host`.
    pub(super) async fn wrap(
        &self,
        host: &url::Host<String>,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = match host {
            url::Host::Domain(name) => {
                ServerName::try_from(name.clone()).map_err(|error| error.to_string())?
            }
            url::Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
            url::Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
        };
        let connector = TlsConnector::from(self.config().await?);
        connector.connect(name, stream).await.map_err(|error| error.to_string())
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let material = self.material().await?;
        let digest = material.digest();
        let mut built = self.built.lock().await;
        if let Some(built) = built.as_ref().filter(|built| built.digest == digest) {
            return Ok(Arc::clone(&built.config));
        }
        let config = Arc::new(material.build()?);
        *built = Some(Built { digest, config: Arc::clone(&config) });
        Ok(config)
    }

    async fn material(&self) -> Result<Material, String> {
        let ca = match &self.ca {
            Some(source) => Some(self.text(source).await?),
            None => None,
        };
        let client = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some((self.text(certificate).await?, self.text(key).await?))
            }
            _ => None,
        };
        Ok(Material { ca, client })
    }

    async fn text(&self, source: &PemSource) -> Result<String, String> {
        match source {
            PemSource::Inline(text) => Ok(text.clone()),
            PemSource::Secret(name) => {
                self.secrets.value(name).await.map_err(|error| error.to_string())
            }
            PemSource::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.map_err(|error| error.to_string())?
            }
        }
    }
}

impl Material {
    fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        let (certificate, key) = self.client.clone().unwrap_or_default();
        for text in [self.ca.as_deref().unwrap_or_default(), &certificate, &key] {
            hasher.update(text.len().to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.finalize().into()
    }

    /// TLS 1.2 and later; HTTP/2 where the other side speaks it.
    fn build(self) -> Result<ClientConfig, String> {
        let roots = match &self.ca {
            None => system_roots(),
            Some(text) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(text)? {
                    roots.add(certificate).map_err(|error| format!("ca: {error}"))?;
                }
                Arc::new(roots)
            }
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some((chain, private)) => builder
                .with_client_auth_cert(certificates(chain)?, key(private)?)
                .map_err(|error| format!("client_certificate: {error}"))?,
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Read once.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    }))
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err("it holds no certificate in PEM".into()),
        Err(error) => Err(format!("it is no PEM: {error}")),
    }
}

/// Never says anything of the key.
fn key(text: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "it holds no private key in PEM".to_owned())
}

fn read_file(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(PEM_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}
