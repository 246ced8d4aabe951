//! What all peers share: the payload, the start and the end of a run.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Jobs that are inserted in one transaction.
pub(crate) const FILL_BATCH: usize = 1_000;

/// Handlers that ran.
pub(crate) static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// The payload of a withdrawal's event, as Tidegate writes it.
pub(crate) fn payload(number: usize) -> serde_json::Value {
    serde_json::json!({
        "withdrawal_id": format!("01890000-0000-7000-8000-{number:012x}"),
        "user_id": "user-4711",
        "asset": "USDC",
        "network": "eip155:1",
        "amount": "125.500000",
        "destination_address": "0x52908400098527886E0F7030069857D2E4169EE7",
        "status": "REQUESTED",
        "tx_hash": null,
        "failure_reason": null,
        "requested_at": "2026-01-01T00:00:00.000Z",
        "broadcasted_at": null,
        "confirmed_at": null,
    })
}

/// Says that the queue is filled, and waits for the word to go.
pub(crate) async fn wait_for_go() -> Fallible<()> {
    println!("filled");
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)
    })
    .await??;
    Ok(())
}

/// Waits until the handler has run for all jobs.
pub(crate) async fn wait_for_handlers(jobs: usize) {
    while HANDLED.load(Ordering::Relaxed) < jobs {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
