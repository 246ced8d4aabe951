//! Makes connections that a policy allows, and no others.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tower::Service;
use url::{Host, Url};

use super::super::grants::{ConnectionPolicy, Origin, canonical_host, is_link_local, is_public};
use super::resolve::Resolver;
use super::stream::{EgressStream, Io};
use super::tls::Tls;

/// Addresses of one name that are looked at: more is no name of a service.
const ADDRESSES_MAX: usize = 32;
/// No name is longer.
const NAME_BYTES_MAX: usize = 253;

/// Why no connection was made. Nothing was sent in any of these cases.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("no grant allows this destination")]
    NotGranted,
    #[error(
        "{host} has the address {address}, which is not public: to allow it, add private = true to \
         its grant"
    )]
    PrivateAddress { host: String, address: IpAddr },
    #[error(
        "{host} has the address {address} on the machine's own link: to allow it, grant this host \
         by its own name, with private = true"
    )]
    LinkLocalAddress { host: String, address: IpAddr },
    #[error("the name {0} cannot be resolved")]
    Unresolved(String),
    #[error("limit of {0} connections reached")]
    TooMany(usize),
    #[error("no connection within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the connection was refused: {0}")]
    Refused(io::Error),
    #[error("TLS: {0}")]
    Tls(String),
}

/// The dialler of one policy of one release.
#[derive(Clone)]
pub(crate) struct Dialler(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) policy: ConnectionPolicy,
    /// Whose policy it is.
    pub(super) origins: Vec<Origin>,
    pub(super) tls: Tls,
    pub(super) resolver: Arc<dyn Resolver>,
    /// A permit for each connection of the plugin, over all its policies.
    pub(super) places: Arc<Semaphore>,
    pub(super) places_max: usize,
    /// A permit for each name that is looked up: one plugin must not hold all of the system's
    /// threads for it.
    pub(super) lookups: Arc<Semaphore>,
}

impl Service<Uri> for Dialler {
    type Response = TokioIo<EgressStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let within = shared.policy.connect_timeout;
            let deadline = Instant::now() + within;
            let dialled = tokio::time::timeout_at(deadline, shared.dial(&uri, deadline)).await;
            dialled.map_err(|_| DialError::TimedOut(within))?.map(TokioIo::new)
        })
    }
}

impl Shared {
    async fn dial(&self, uri: &Uri, deadline: Instant) -> Result<EgressStream, DialError> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| DialError::TooMany(self.places_max))?;
        // Checked when the request was admitted, and once more by the one who acts on it.
        let url = Url::parse(&uri.to_string()).map_err(|_| DialError::NotGranted)?;
        if !self.origins.iter().any(|origin| origin.allows(&url)) {
            return Err(DialError::NotGranted);
        }
        let host = canonical_host(&url).ok_or(DialError::NotGranted)?;
        let port = url.port_or_known_default().ok_or(DialError::NotGranted)?;
        let addresses = self.resolve(&host).await?;
        self.check(&host, &addresses)?;
        let stream = connect_first(&addresses, port, deadline).await.map_err(DialError::Refused)?;
        // Requests are small and wait for their answer: Nagle would only delay them.
        stream.set_nodelay(true).map_err(DialError::Refused)?;
        self.finish(&url, &host, stream, place).await
    }

    async fn finish(
        &self,
        url: &Url,
        host: &Host<String>,
        stream: TcpStream,
        place: OwnedSemaphorePermit,
    ) -> Result<EgressStream, DialError> {
        let io = if url.scheme() == "https" {
            Io::Tls(Box::new(self.tls.wrap(host, stream).await.map_err(DialError::Tls)?))
        } else {
            Io::Plain(stream)
        };
        Ok(EgressStream { io, _place: place })
    }

    async fn resolve(&self, host: &Host<String>) -> Result<Vec<IpAddr>, DialError> {
        match host {
            Host::Ipv4(address) => Ok(vec![IpAddr::V4(*address)]),
            Host::Ipv6(address) => Ok(vec![IpAddr::V6(*address)]),
            Host::Domain(name) => {
                let unresolved = || DialError::Unresolved(name.chars().take(64).collect());
                if name.len() > NAME_BYTES_MAX {
                    return Err(unresolved());
                }
                let _permit = self.lookups.acquire().await.map_err(|_| unresolved())?;
                let found = self.resolver.resolve(name).await.map_err(|_| unresolved())?;
                if found.is_empty() || found.len() > ADDRESSES_MAX {
                    return Err(unresolved());
                }
                Ok(found)
            }
        }
    }

    /// All or none: of a name that answers a mix, somebody else chose the one that is dialled.
    fn check(&self, host: &Host<String>, addresses: &[IpAddr]) -> Result<(), DialError> {
        for address in addresses {
            if !self.policy.private && !is_public(*address) {
                return Err(DialError::PrivateAddress {
                    host: host.to_string(),
                    address: *address,
                });
            }
            if !self.policy.link_local && is_link_local(*address) {
                return Err(DialError::LinkLocalAddress {
                    host: host.to_string(),
                    address: *address,
                });
            }
        }
        Ok(())
    }
}

/// Dials the addresses that were checked, one after another; one that does not answer has its
/// share of the time and no more.
async fn connect_first(
    addresses: &[IpAddr],
    port: u16,
    deadline: Instant,
) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (at, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let connect = TcpStream::connect(SocketAddr::new(*address, port));
        match tokio::time::timeout(left / others, connect).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(last)
}
