//! A TCP proxy on loopback that can hold bytes back, for as long as it is told, and cut.
//!
//! Whoever writes into a connection that holds sees what a half-open connection shows: everything is
//! taken and nothing comes back. No byte is lost inside a connection that goes on; what is held when
//! it is cut never arrives.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const CHUNK_BYTES: usize = 16 * 1024;

/// What does not come through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Hold {
    #[default]
    Nothing,
    /// What clients ask arrives and is carried out; the answers are held.
    Answers,
    Everything,
}

/// The state of all connections.
#[derive(Debug, Clone, Copy, Default)]
struct Wire {
    hold: Hold,
    /// How often everything was cut. A connection ends when this changes.
    cuts: u64,
}

/// A running proxy. Dropping it ends its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    wire: watch::Sender<Wire>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and carries everything to and from this port.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn start(to_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = watch::Sender::new(Wire::default());
        let state = wire.subscribe();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, to_port, state.clone()));
            }
        });
        Self { port, wire, accepting }
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds bytes back from now on, or lets go what was held.
    pub fn hold(&self, hold: Hold) {
        self.wire.send_modify(|wire| wire.hold = hold);
    }

    /// Ends every connection, with what is held, and lets new ones through.
    pub fn cut(&self) {
        self.wire.send_modify(|wire| *wire = Wire { hold: Hold::Nothing, cuts: wire.cuts + 1 });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn carry(client: TcpStream, to_port: u16, mut wire: watch::Receiver<Wire>) {
    let cuts = wire.borrow_and_update().cuts;
    let (asking, answering) = (wire.clone(), wire.clone());
    let carrying = async {
        let server = TcpStream::connect(("127.0.0.1", to_port)).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        let ask = pump(from_client, to_server, asking, |hold| hold == Hold::Everything);
        let answer = pump(from_server, to_client, answering, |hold| hold != Hold::Nothing);
        // Postgres never closes one direction only.
        tokio::select! { ended = ask => ended, ended = answer => ended }
    };
    // However it ends, both sockets are dropped, which is all that there is to do.
    tokio::select! {
        _ended = carrying => {}
        _cut = wire.wait_for(|wire| wire.cuts != cuts) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    is_held: impl Fn(Hold) -> bool,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await?;
        if wire.wait_for(|wire| !is_held(wire.hold)).await.is_err() || length == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    /// A server that answers each byte with the same, and says how many it took.
    async fn echo() -> (u16, watch::Receiver<u64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (taken, seen) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                while let Ok(byte) = stream.read_u8().await {
                    taken.send_modify(|count| *count += 1);
                    let _ = stream.write_u8(byte).await;
                }
            }
        });
        (port, seen)
    }

    async fn answer(stream: &mut TcpStream) -> io::Result<u8> {
        tokio::time::timeout(WITHIN, stream.read_u8()).await.expect("an answer, or an end")
    }

    #[tokio::test]
    async fn held_answers_come_when_they_are_let_go_and_never_after_a_cut() {
        let (port, mut taken) = echo().await;
        let proxy = Proxy::start(port).await;
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
        stream.write_u8(1).await.unwrap();
        assert_eq!(answer(&mut stream).await.unwrap(), 1);

        proxy.hold(Hold::Answers);
        stream.write_u8(2).await.unwrap();
        tokio::time::timeout(WITHIN, taken.wait_for(|count| *count == 2)).await.unwrap().unwrap();
        let mut byte = [0];
        assert_eq!(stream.try_read(&mut byte).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        proxy.hold(Hold::Nothing);
        assert_eq!(answer(&mut stream).await.unwrap(), 2);

        proxy.hold(Hold::Everything);
        stream.write_u8(3).await.unwrap();
        proxy.cut();
        assert!(answer(&mut stream).await.is_err(), "the connection is gone");
        assert_eq!(*taken.borrow(), 2, "what was held never arrived");
    }
}
