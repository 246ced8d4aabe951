//! The HTTP server under each stand-in: one that can also cut a connection instead of answering.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far above what a host sends (a raw transaction has at most 128 KiB).
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How long a request in hand may go on after the stop.
const GRACE: Duration = Duration::from_secs(2);

/// A running server. Stops when it is told to or dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) fn start(
        name: &'static str,
        listener: TcpListener,
        router: Router,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let service = router
            .layer(axum::middleware::from_fn(cut_where_asked))
            .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
            .into_make_service_with_connect_info::<Connection>();
        let until = stop.clone();
        let task = tokio::spawn(async move {
            let serving = axum::serve(CuttableListener(listener), service)
                .with_graceful_shutdown(until.cancelled_owned());
            if let Err(error) = serving.await {
                tracing::error!(sandbox.stand_in = name, %error, "a stand-in stopped serving");
            }
        });
        Ok(Self { address, stop, task })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes nothing more, and waits for what is in hand.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The token also ends the connections, which are tasks of their own.
        self.stop.cancel();
        self.task.abort();
    }
}

/// An answer that says: close the connection and send nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut;

pub(super) fn cut() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(Cut);
    response
}

async fn cut_where_asked(
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    if response.extensions().get::<Cut>().is_some() {
        connection.cut.store(true, Ordering::Release);
    }
    response
}

#[derive(Debug, Clone)]
struct Connection {
    cut: Arc<AtomicBool>,
}

impl Connected<IncomingStream<'_, CuttableListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, CuttableListener>) -> Self {
        stream.remote_addr().clone()
    }
}

struct CuttableListener(TcpListener);

impl Listener for CuttableListener {
    type Io = CuttableStream;
    type Addr = Connection;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, _) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let connection = Connection { cut: Arc::new(AtomicBool::new(false)) };
        (CuttableStream { stream, cut: Arc::clone(&connection.cut) }, connection)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(Connection { cut: Arc::new(AtomicBool::new(false)) })
    }
}

/// Fails each write after the cut, whereupon the server closes the connection.
struct CuttableStream {
    stream: TcpStream,
    cut: Arc<AtomicBool>,
}

impl CuttableStream {
    fn check(&self) -> io::Result<()> {
        if self.cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for CuttableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CuttableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.check() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Err(error) = self.check() {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
