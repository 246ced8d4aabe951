//! TLS: whom the host believes, whom it says to be, and which HTTP is spoken inside.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::components::{assert_retry, attempt, detail, hostile, hostile_behind};
use super::fakes::{Fakes, services};
use crate::domain::Outcome;
use crate::plugin::{Manifest, Outbound, Release};

/// A throwaway authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate chain and its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn identity(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }

    fn server(&self) -> Identity {
        self.identity(&["127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self) -> Identity {
        self.identity(&["client"], ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }
}

/// What a target saw of one request.
#[derive(Debug, Clone)]
struct Seen {
    version: http::Version,
    hosts: Vec<String>,
    authority: Option<String>,
    body: String,
    client_certificates: usize,
}

struct Target {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
}

struct Setting<'a> {
    identity: Identity,
    /// Whose clients are let in; everybody's if none.
    clients_of: Option<&'a Authority>,
    protocols: &'a [&'a str],
    versions: Vec<&'static SupportedProtocolVersion>,
}

impl<'a> Setting<'a> {
    fn of(authority: &Authority) -> Self {
        Self {
            identity: authority.server(),
            clients_of: None,
            protocols: &["h2", "http/1.1"],
            versions: vec![&version::TLS13, &version::TLS12],
        }
    }
}

impl Target {
    async fn start(setting: Setting<'_>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&setting.versions)
            .unwrap();
        let builder = match setting.clients_of {
            None => builder.with_no_client_auth(),
            Some(authority) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(authority.roots(), provider)
                    .build()
                    .unwrap(),
            ),
        };
        let chain = CertificateDer::from_pem_slice(setting.identity.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(setting.identity.key.as_bytes());
        let mut config = builder.with_single_cert(vec![chain.unwrap()], key.unwrap()).unwrap();
        config.alpn_protocols =
            setting.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let connections = Arc::<Mutex<usize>>::default();
        let (shared, counted) = (Arc::clone(&seen), Arc::clone(&connections));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *counted.lock().unwrap() += 1;
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, seen).await;
                    }
                });
            }
        });
        Self { address, seen, connections }
    }

    fn origin(&self) -> String {
        format!("https://{}", self.address)
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

type ServerStream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

async fn serve(stream: ServerStream, seen: Arc<Mutex<Vec<Seen>>>) {
    let session = stream.get_ref().1;
    let client_certificates = session.peer_certificates().map_or(0, <[_]>::len);
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: http::Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let hosts = request.headers().get_all("host").iter();
            let mut of = Seen {
                version: request.version(),
                hosts: hosts.map(|host| host.to_str().unwrap().to_owned()).collect(),
                authority: request.uri().authority().map(ToString::to_string),
                body: String::new(),
                client_certificates,
            };
            let body = request.into_body().collect().await.unwrap().to_bytes();
            of.body = String::from_utf8(body.to_vec()).unwrap();
            seen.lock().unwrap().push(of);
            Ok::<_, Infallible>(http::Response::new(Full::new(bytes::Bytes::from("ok"))))
        }
    });
    let io = TokioIo::new(stream);
    // The other side may go at any time.
    if is_h2 {
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http2.serve_connection(io, service).await;
    } else {
        let http1 = hyper::server::conn::http1::Builder::new();
        let _ = http1.serve_connection(io, service).await;
    }
}

fn grants(target: &Target, more: &str) -> String {
    format!(
        "[[grants.http]]\norigin = \"{}\"\nprivate = true\nconnect_timeout = \"3s\"\n{more}\n",
        target.origin()
    )
}

async fn call(release: &Release, target: &Target) -> Outcome {
    let payload = json!({"do": "call", "url": target.origin(), "bytes": 5, "count": 2});
    attempt(release, &services(), payload).await
}

fn inline(authority: &Authority) -> String {
    format!("ca = \"\"\"\n{}\"\"\"\n", authority.pem)
}

#[tokio::test]
async fn a_pinned_authority_is_believed_and_no_other() {
    let (own, other) = (Authority::new(), Authority::new());
    let target = Target::start(Setting::of(&own)).await;
    let pinned = hostile(&grants(&target, &inline(&own))).await;
    detail(call(&pinned, &target).await);
    for grants in [grants(&target, ""), grants(&target, &inline(&other))] {
        let outcome = call(&hostile(&grants).await, &target).await;
        assert_retry(&outcome, "TLS: invalid peer certificate");
        assert_retry(&outcome, "nothing was sent");
    }
    assert_eq!(target.seen().len(), 2);
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let authority = Authority::new();
    let identity = authority.identity(&["other.test"], ExtendedKeyUsagePurpose::ServerAuth);
    let target = Target::start(Setting { identity, ..Setting::of(&authority) }).await;
    let outcome = call(&hostile(&grants(&target, &inline(&authority))).await, &target).await;
    assert_retry(&outcome, "TLS: ");
    assert!(target.seen().is_empty());
}

#[tokio::test]
async fn http_2_is_spoken_where_the_target_can_and_has_no_host_beside_its_authority() {
    let authority = Authority::new();
    let target = Target::start(Setting::of(&authority)).await;
    let release = hostile(&grants(&target, &inline(&authority))).await;
    detail(call(&release, &target).await);
    for seen in target.seen() {
        assert_eq!(seen.version, http::Version::HTTP_2);
        assert_eq!(seen.authority, Some(target.address.to_string()));
        assert!(seen.hosts.is_empty(), "{seen:?}");
        assert_eq!(seen.body, "xxxxx");
    }
    assert_eq!((target.seen().len(), *target.connections.lock().unwrap()), (2, 1));
}

#[tokio::test]
async fn http_1_is_spoken_elsewhere_with_one_host() {
    let authority = Authority::new();
    for protocols in [&["http/1.1"][..], &[]] {
        let setting = Setting { protocols, ..Setting::of(&authority) };
        let target = Target::start(setting).await;
        let release = hostile(&grants(&target, &inline(&authority))).await;
        detail(call(&release, &target).await);
        for seen in target.seen() {
            assert_eq!(seen.version, http::Version::HTTP_11);
            assert_eq!(seen.hosts, [target.address.to_string()]);
        }
        assert_eq!((target.seen().len(), *target.connections.lock().unwrap()), (2, 1));
    }
}

#[tokio::test]
async fn tls_1_2_is_enough() {
    let authority = Authority::new();
    let target =
        Target::start(Setting { versions: vec![&version::TLS12], ..Setting::of(&authority) }).await;
    detail(call(&hostile(&grants(&target, &inline(&authority))).await, &target).await);
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_client_certificate_lets_in_and_is_read_again_when_it_changes() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let setting = Setting {
        clients_of: Some(&clients),
        // A refusal shows in the handshake, and not only after it.
        versions: vec![&version::TLS12],
        ..Setting::of(&authority)
    };
    let target = Target::start(setting).await;
    let without = hostile(&grants(&target, &inline(&authority))).await;
    assert_retry(&call(&without, &target).await, "TLS: ");

    let folder = tempfile::tempdir().unwrap();
    let stranger = strangers.client();
    let certificate = write(folder.path(), "client.pem", &stranger.certificate);
    let key = write(folder.path(), "client.key", &stranger.key);
    let more = format!(
        "{}client_certificate = \"{certificate}\"\nclient_key = \"{key}\"\n",
        inline(&authority)
    );
    let release = hostile(&grants(&target, &more)).await;
    assert_retry(&call(&release, &target).await, "TLS: ");
    let known = clients.client();
    write(folder.path(), "client.pem", &known.certificate);
    write(folder.path(), "client.key", &known.key);
    detail(call(&release, &target).await);
    assert!(target.seen().iter().all(|seen| seen.client_certificates == 1));
}

#[tokio::test]
async fn a_key_may_be_a_secret_of_the_host() {
    let authority = Authority::new();
    let setting = Setting { clients_of: Some(&authority), ..Setting::of(&authority) };
    let target = Target::start(setting).await;
    let client = authority.client();
    let fakes = Fakes::new();
    let leaked: &'static str = Box::leak(client.key.into_boxed_str());
    fakes.secrets.lock().unwrap().insert("CLIENT_KEY", leaked);
    let outbound = Arc::new(Outbound::new().unwrap().with_secrets(fakes.clone() as _));
    let more = format!(
        "{}client_certificate = \"\"\"\n{}\"\"\"\nclient_key = {{ secret = \"CLIENT_KEY\" }}\n",
        inline(&authority),
        client.certificate
    );
    let release = hostile_behind(&outbound, &grants(&target, &more)).await;
    detail(call(&release, &target).await);
    fakes.secrets.lock().unwrap().clear();
    let release = hostile_behind(&outbound, &grants(&target, &more)).await;
    assert_retry(&call(&release, &target).await, "this host has no secret \"CLIENT_KEY\"");
}

#[tokio::test]
async fn certificates_that_cannot_be_read_do_not_load() {
    let folder = tempfile::tempdir().unwrap();
    let no_pem = write(folder.path(), "no.pem", "nothing");
    let wasm = &super::components::components().await.hostile;
    for (ca, said) in [
        (folder.path().join("missing.pem").display().to_string(), "cannot be read"),
        (no_pem, "it holds no certificate in PEM"),
    ] {
        let text = format!(
            "name = \"hostile\"\nhandles = [\"A\"]\n[grants]\nsecrets = [\"KEY\"]\n\
             topics = [\"granted\"]\nnetworks = [\"eip155:31337\"]\n[[grants.http]]\n\
             origin = \"https://a.example\"\nca = \"{ca}\"\n"
        );
        let manifest = Manifest::parse(&text, Path::new("plugin.toml")).unwrap();
        let engine = &super::components::ENGINE;
        let error = Release::from_bytes(engine, manifest, wasm, None).err().unwrap().to_string();
        assert!(error.contains("hostile: grants.http: https://a.example: ca: "), "{error}");
        assert!(error.contains(said), "{error}");
    }
}
