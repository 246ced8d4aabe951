//! Connections to the outside, for one release: resolved, checked and dialled by the host.
//!
//! Each release has a pool of its own: a pooled connection skips the checks that happen at connect,
//! so connections are never shared between plugins, nor between two policies of one plugin.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::Service;
use url::Url;
use wasmtime_wasi_http::WasiBody;

use super::grants::{Grants, is_public};

/// Idle connections kept for one host.
const IDLE_PER_HOST_MAX: usize = 64;
const IDLE_FOR: Duration = Duration::from_secs(30);
/// The longest wait for a connection, name and TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

pub(super) type EgressClient = Client<Dialler, WasiBody>;

pub(super) fn client(grants: &Grants) -> EgressClient {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .build(Dialler { grants: Arc::new(grants.clone()) })
}

/// Why no connection was made. Nothing was sent in any of these cases.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("no grant allows this destination")]
    NotGranted,
    #[error("{host} has the address {address}, which is not public")]
    PrivateAddress { host: String, address: IpAddr },
    #[error("the name {0} cannot be resolved")]
    Unresolved(String),
    #[error("no connection within {} s", CONNECT_WITHIN.as_secs())]
    TimedOut,
    #[error("the connection was refused: {0}")]
    Refused(io::Error),
    #[error("TLS: {0}")]
    Tls(String),
}

/// Makes connections that a policy allows, and no others.
#[derive(Clone)]
pub(super) struct Dialler {
    grants: Arc<Grants>,
}

impl Service<Uri> for Dialler {
    type Response = TokioIo<EgressStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let grants = Arc::clone(&self.grants);
        Box::pin(async move {
            let connect = dial(&grants, &uri);
            tokio::time::timeout(CONNECT_WITHIN, connect).await.map_err(|_| DialError::TimedOut)?
        })
    }
}

async fn dial(grants: &Grants, uri: &Uri) -> Result<TokioIo<EgressStream>, DialError> {
    let url = Url::parse(&uri.to_string()).map_err(|_| DialError::NotGranted)?;
    let grant = grants.http_for(&url).ok_or(DialError::NotGranted)?;
    let host = url.host().ok_or(DialError::NotGranted)?;
    let port = url.port_or_known_default().ok_or(DialError::NotGranted)?;
    let addresses = resolve(&host, port).await?;
    // All or none: of a name that answers a mix, somebody else chose the one that is dialled.
    if !grant.private
        && let Some(bad) = addresses.iter().find(|address| !is_public(address.ip()))
    {
        return Err(DialError::PrivateAddress { host: host.to_string(), address: bad.ip() });
    }
    let stream = connect_first(&addresses).await.map_err(DialError::Refused)?;
    // Requests are small and wait for their answer: Nagle would only delay them.
    stream.set_nodelay(true).map_err(DialError::Refused)?;
    let stream = if url.scheme() == "https" {
        EgressStream::Tls(Box::new(wrap_tls(&host, stream).await?))
    } else {
        EgressStream::Plain(stream)
    };
    Ok(TokioIo::new(stream))
}

async fn resolve(host: &url::Host<&str>, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    match host {
        url::Host::Ipv4(address) => Ok(vec![SocketAddr::from((*address, port))]),
        url::Host::Ipv6(address) => Ok(vec![SocketAddr::from((*address, port))]),
        url::Host::Domain(name) => {
            let unresolved = || DialError::Unresolved((*name).to_owned());
            let found = tokio::net::lookup_host((*name, port)).await.map_err(|_| unresolved())?;
            let addresses: Vec<_> = found.collect();
            if addresses.is_empty() { Err(unresolved()) } else { Ok(addresses) }
        }
    }
}

/// Dials the addresses that were checked, one after another.
async fn connect_first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn wrap_tls(
    host: &url::Host<&str>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, DialError> {
    let tls = |error: &dyn std::fmt::Display| DialError::Tls(error.to_string());
    let name = match host {
        url::Host::Domain(name) => ServerName::try_from((*name).to_owned()).map_err(|e| tls(&e))?,
        url::Host::Ipv4(address) => ServerName::from(IpAddr::V4(*address)),
        url::Host::Ipv6(address) => ServerName::from(IpAddr::V6(*address)),
    };
    let connector = tls_connector().map_err(|e| tls(&e))?;
    connector.connect(name, stream).await.map_err(|e| tls(&e))
}

/// TLS 1.2 and later, with the system's roots, read once.
fn tls_connector() -> Result<TlsConnector, String> {
    static CONFIG: OnceLock<Result<Arc<rustls::ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    });
    config.clone().map(TlsConnector::from)
}

/// A connection, with or without TLS.
pub(super) enum EgressStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for EgressStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for EgressStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for EgressStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}
