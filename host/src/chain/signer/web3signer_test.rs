//! A signer over TLS that asks for a client certificate, and does what a test tells it to.

use std::net::SocketAddr;
use std::sync::Mutex;

use alloy_primitives::keccak256;
use k256::ecdsa::SigningKey;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, in PEM.
    fn identity(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }
}

#[derive(Debug, Clone)]
enum Manner {
    /// Signs with this key, whichever is asked for.
    Sign(u8),
    /// Signs other bytes than it was given.
    SignOther,
    /// The other of the two signatures that the curve allows.
    HighS,
    Status(u16, &'static str),
    Text(String),
    Silent,
}

struct FakeSigner {
    address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    /// The path and the body of each request.
    seen: Arc<Mutex<Vec<(String, serde_json::Value)>>>,
    task: JoinHandle<()>,
}

impl Drop for FakeSigner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_slice(&[byte; 32]).unwrap()
}

fn public_key(byte: u8) -> String {
    hex::encode_prefixed(&key(byte).verifying_key().to_encoded_point(false).as_bytes()[1..])
}

fn sign(byte: u8, data: &[u8], high: bool) -> String {
    let (signature, recovery) =
        key(byte).sign_prehash_recoverable(keccak256(data).as_slice()).unwrap();
    let (r, s) = signature.split_scalars();
    let (s, parity) = if high { (-*s, !recovery.is_y_odd()) } else { (*s, recovery.is_y_odd()) };
    let v = [27 + u8::from(parity)];
    hex::encode_prefixed([&r.to_bytes()[..], &s.to_bytes()[..], &v].concat())
}

impl FakeSigner {
    /// `server` says who it is, and `clients` whom it lets in.
    async fn start(server: &Authority, clients: &Authority) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(clients.roots(), Arc::clone(&provider));
        let (certificate, private) = server.identity(ExtendedKeyUsagePurpose::ServerAuth);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(private.as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let manner = Arc::new(Mutex::new(Manner::Sign(1)));
        let seen: Arc<Mutex<Vec<(String, serde_json::Value)>>> = Arc::default();
        let (how, log) = (Arc::clone(&manner), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, how, log) = (acceptor.clone(), Arc::clone(&how), Arc::clone(&log));
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await.ok()?;
                    let (path, body) = read_request(&mut stream).await?;
                    let data = hex::decode(body["data"].as_str().unwrap()).unwrap();
                    log.lock().unwrap().push((path, body));
                    let manner = how.lock().unwrap().clone();
                    let (status, text) = match manner {
                        Manner::Sign(byte) => (200, sign(byte, &data, false)),
                        Manner::SignOther => (200, sign(1, b"another transaction", false)),
                        Manner::HighS => (200, sign(1, &data, true)),
                        Manner::Status(status, text) => (status, text.to_owned()),
                        Manner::Text(text) => (200, text),
                        Manner::Silent => {
                            tokio::time::sleep(Duration::from_secs(60)).await;
                            return None;
                        }
                    };
                    let answer = format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: text/plain\r\n\
                         content-length: {}\r\nconnection: close\r\n\r\n{text}",
                        text.len()
                    );
                    stream.write_all(answer.as_bytes()).await.ok()?;
                    stream.shutdown().await.ok()
                });
            }
        });
        Self { address, manner, seen, task }
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }
}

async fn read_request(
    stream: &mut (impl tokio::io::AsyncRead + Unpin),
) -> Option<(String, serde_json::Value)> {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0_u8; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(body) = serde_json::from_str(body) {
            return Some((head.split(' ').nth(1)?.to_owned(), body));
        }
    }
}

/// A folder with what the client needs, and the configuration that names it.
fn config(
    folder: &Path,
    address: SocketAddr,
    server: &Authority,
    clients: &Authority,
) -> RemoteSignerConfig {
    let (certificate, private) = clients.identity(ExtendedKeyUsagePurpose::ClientAuth);
    let path = |name: &str| folder.join(name);
    for (name, text) in [("ca", &server.pem), ("cert", &certificate), ("key", &private)] {
        std::fs::write(path(name), text).unwrap();
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path("key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    RemoteSignerConfig {
        url: format!("https://{address}/signers/").parse().unwrap(),
        public_key: public_key(1),
        ca_file: Some(path("ca")),
        client: Some(ClientFiles { certificate: path("cert"), key: path("key") }),
        timeout: Duration::from_secs(2),
    }
}

struct Bench {
    fake: FakeSigner,
    config: RemoteSignerConfig,
    _folder: tempfile::TempDir,
}

async fn bench() -> Bench {
    let (server, clients) = (Authority::new(), Authority::new());
    let fake = FakeSigner::start(&server, &clients).await;
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), fake.address, &server, &clients);
    Bench { fake, config, _folder: folder }
}

#[tokio::test]
async fn the_transactions_bytes_go_to_the_key_that_is_named_and_its_signature_comes_back() {
    let bench = bench().await;
    let signer = RemoteSigner::open(&bench.config).unwrap();
    assert_eq!(signer.address(), Address::from_private_key(&key(1)));
    let unsigned = b"a transaction, as it is encoded for signing";
    let signature = signer.sign(unsigned).await.unwrap();
    let recovered = signature.recover_address_from_prehash(&keccak256(unsigned)).unwrap();
    assert_eq!(recovered, signer.address());
    let seen = bench.fake.seen.lock().unwrap();
    assert_eq!(seen[0].0, format!("/signers/api/v1/eth1/sign/{}", public_key(1)));
    assert_eq!(seen[0].1, json!({ "data": hex::encode_prefixed(unsigned) }));
}

#[tokio::test]
async fn what_is_no_signature_is_an_error_of_the_right_kind() {
    let bench = bench().await;
    let mut config = bench.config.clone();
    config.timeout = Duration::from_millis(300);
    let signer = RemoteSigner::open(&config).unwrap();
    let away = [
        Manner::Silent,
        Manner::Status(503, "later"),
        Manner::Status(500, "no"),
        Manner::Status(429, "slow"),
    ];
    for manner in away {
        bench.fake.behave(manner.clone());
        let error = signer.sign(b"x").await.unwrap_err();
        assert!(matches!(error, SignerError::Away { .. }), "{manner:?}: {error}");
    }
    for manner in [Manner::Status(404, ""), Manner::Status(400, "bad"), Manner::Status(302, "")] {
        bench.fake.behave(manner.clone());
        let error = signer.sign(b"x").await.unwrap_err();
        assert!(matches!(error, SignerError::Refused { .. }), "{manner:?}: {error}");
    }
    let good = sign(1, b"x", false);
    let texts = [
        String::new(),
        good[2..].to_owned(),
        good[..130].to_owned(),
        format!("{good}00"),
        format!("{}1f", &good[..130]),
        format!("{good} {}", "x".repeat(ANSWER_BYTES_MAX)),
        "x".repeat(10 * ANSWER_BYTES_MAX),
    ];
    for text in texts {
        bench.fake.behave(Manner::Text(text.clone()));
        let error = signer.sign(b"x").await.unwrap_err();
        assert!(matches!(error, SignerError::Unreadable { .. }), "{text}: {error}");
    }
    for text in [format!("\"{good}\""), format!("{good}\n")] {
        bench.fake.behave(Manner::Text(text));
        signer.sign(b"x").await.unwrap();
    }
}

#[tokio::test]
async fn only_a_signer_of_the_configured_authority_is_spoken_to_and_only_with_our_certificate() {
    let bench = bench().await;
    let folder = tempfile::tempdir().unwrap();
    let other = Authority::new();
    // The signer's certificate is from an authority that is not the configured one.
    let (_, clients) = (Authority::new(), Authority::new());
    let wrong = config(folder.path(), bench.fake.address, &other, &clients);
    let mistrusted = RemoteSignerConfig { ca_file: wrong.ca_file, ..bench.config.clone() };
    // Our certificate is from an authority that the signer does not know.
    let unknown = RemoteSignerConfig { client: wrong.client, ..bench.config.clone() };
    for config in [mistrusted, unknown] {
        let error = RemoteSigner::open(&config).unwrap().sign(b"x").await.unwrap_err();
        assert!(matches!(error, SignerError::Away { .. }), "{error}");
    }
    assert!(bench.fake.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_is_configured_wrongly_is_named() {
    let bench = bench().await;
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage");
    std::fs::write(&garbage, "-----BEGIN NOTHING-----").unwrap();
    type Edit = fn(&mut RemoteSignerConfig, &Path);
    let edits: [(&str, Edit); 8] = [
        ("url", |c, _| c.url = "http://signer.example/".parse().unwrap()),
        ("url", |c, _| c.ca_file = None),
        ("url", |c, _| c.client = None),
        ("public_key", |c, _| c.public_key = "0x1234".into()),
        ("public_key", |c, _| c.public_key = format!("0x{}", "ff".repeat(64))),
        ("timeout", |c, _| c.timeout = Duration::from_secs(60)),
        ("ca_file", |c, garbage| c.ca_file = Some(garbage.into())),
        ("client_key_file", |c, garbage| c.client.as_mut().unwrap().key = garbage.into()),
    ];
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&garbage, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    for (key, edit) in edits {
        let mut config = bench.config.clone();
        edit(&mut config, &garbage);
        let error = RemoteSigner::open(&config).unwrap_err().to_string();
        assert!(error.starts_with(&format!("remote_signer.{key}:")), "{error}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let path = &bench.config.client.as_ref().unwrap().key;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = RemoteSigner::open(&bench.config).unwrap_err().to_string();
        assert!(error.contains("open to everyone"), "{error}");
    }
}

#[test]
fn the_account_follows_from_the_public_key_however_it_is_written() {
    let point = key(7).verifying_key().to_encoded_point(false);
    let short = key(7).verifying_key().to_encoded_point(true);
    let expected = (Address::from_private_key(&key(7)), public_key(7));
    for text in [
        public_key(7),
        public_key(7)[2..].to_uppercase(),
        hex::encode_prefixed(point.as_bytes()),
        hex::encode_prefixed(short.as_bytes()),
    ] {
        assert_eq!(account_of(&text), Some(expected.clone()), "{text}");
    }
}

/// Through the host's own check of what comes back.
mod checked {
    use super::*;
    use crate::chain::evm::sign_for_tests;

    #[tokio::test]
    async fn a_signature_of_another_key_other_bytes_or_the_other_form_is_never_used() {
        let bench = bench().await;
        let signer = RemoteSigner::open(&bench.config).unwrap();
        bench.fake.behave(Manner::Sign(1));
        sign_for_tests(&signer).await.unwrap();
        for (manner, expected) in [
            (Manner::Sign(2), "the signature is of another account"),
            (Manner::SignOther, "the signature is of another account"),
            (Manner::HighS, "the signature is not in its canonical form"),
        ] {
            bench.fake.behave(manner);
            assert_eq!(sign_for_tests(&signer).await.unwrap_err(), expected);
        }
    }
}
