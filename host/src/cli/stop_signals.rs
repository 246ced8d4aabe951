//! What ends a host from outside.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What asks the process to stop, heard from the moment on when this is made. Where one of them
/// cannot be heard, the other still is.
pub(super) struct StopSignals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl StopSignals {
    pub(super) fn listen() -> Self {
        let heard = |kind| signal(kind).ok();
        Self {
            interrupt: heard(SignalKind::interrupt()),
            terminate: heard(SignalKind::terminate()),
        }
    }

    /// Waits for Ctrl-C or SIGTERM, and says which it was.
    pub(super) async fn any(&mut self) -> &'static str {
        async fn received(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = received(&mut self.interrupt) => "SIGINT",
            () = received(&mut self.terminate) => "SIGTERM",
        }
    }
}
