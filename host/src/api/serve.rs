//! The server: connections in, requests to the router, a stop that loses nothing in hand.
//!
//! Not axum's own, for that waits for a slow caller's headers without end and takes any number of
//! connections.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Open connections. One more waits in the listener's queue.
const CONNECTIONS_MAX: usize = 1_024;

/// For the headers of a request, and for how long an idle connection is kept.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);

/// A head that is larger is refused.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The wait after a failed accept: out of file descriptors, mostly, which asks for patience.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`; then takes no new request, finishes those in hand, and after `grace` cuts
/// off what is left.
///
/// # Errors
/// The listener is none.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(http.address = %address, "the API listens");
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    while let Some((stream, permit)) = next_connection(&listener, &permits, &stop).await {
        let (router, stop, cut) = (router.clone(), stop.clone(), cut.clone());
        connections.spawn(async move {
            serve_connection(stream, router, stop, cut).await;
            drop(permit);
        });
    }
    // Callers are refused at once from here on, and can turn to another host.
    drop(listener);
    connections.close();
    if tokio::time::timeout(grace, connections.wait()).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "the grace time is over, connections are cut"
        );
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// None once it should stop.
async fn next_connection(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    loop {
        let connection = async {
            let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            // An answer is one small write; waiting to fill a packet only delays it.
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>((stream, permit))
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            connection = connection => match connection {
                Ok(connection) => return Some(connection),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        // The caller went away or spoke no HTTP: its matter, not ours.
        tracing::debug!(%error, "a connection ended early");
    }
}
