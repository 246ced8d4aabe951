//! `peers (awa|river-postgres|river-sqlite) ADDRESS EVENTS WORKERS (default|MS)`: fills a queue with no-op jobs,
//! says `filled`, waits for a line, works all of them, and says `done SECONDS`.

mod awa_queue;
mod job;
mod river;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [peer, address, events, workers, pause] = arguments.as_slice() else {
        eprintln!("peers (awa|river-postgres|river-sqlite) ADDRESS EVENTS WORKERS (default|MS)");
        return ExitCode::from(2);
    };
    let (Ok(events), Ok(workers)) = (events.parse::<usize>(), workers.parse::<usize>()) else {
        eprintln!("EVENTS and WORKERS are numbers");
        return ExitCode::from(2);
    };
    // Between two looks for jobs; `default` leaves it to the peer.
    let pause = pause.parse().ok().map(std::time::Duration::from_millis);
    let run = match peer.as_str() {
        "awa" => awa_queue::run(address, events, workers, pause).await,
        "river-postgres" => river::on_postgres(address, events, workers, pause).await,
        "river-sqlite" => river::on_sqlite(address, events, workers, pause).await,
        other => Err(format!("{other} is no peer").into()),
    };
    match run {
        Ok(took) => {
            println!("done {}", took.as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{peer}: {error}");
            ExitCode::FAILURE
        }
    }
}
