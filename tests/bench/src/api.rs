//! The HTTP API of one host in a process of its own, without jobs: what ingest alone can do. Every
//! withdrawal that is well formed is taken.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidegate::api::{self, Api, JudgeError, Limits, Role, Token, Tokens, WithdrawalJudge};
use tidegate::domain::{Flow, WithdrawalRequest};
use tidegate::jobs::BacklogJob;
use tidegate::plugin::{Registry, Routes};
use tidegate::store::{self, StoreOptions};
use tokio_util::sync::CancellationToken;

use crate::fallible::Fallible;
use crate::options::ApiArguments;
use crate::process::heard;

/// Not a secret: it lives as long as the bench, on loopback.
pub(crate) const TOKEN: &str = "tidegate-bench";

pub(crate) async fn run(arguments: ApiArguments) -> Fallible<()> {
    let store = store::open(&arguments.store.parse()?, StoreOptions::default()).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = api::router(Api {
        accept: Arc::clone(&store) as _,
        operate: Arc::clone(&store) as _,
        control: Arc::clone(&store) as _,
        breakers: Arc::clone(&store) as _,
        backlog: Arc::clone(&store) as _,
        repair: Arc::clone(&store) as _,
        rates: Arc::clone(&store) as _,
        releases: Arc::clone(&store) as _,
        releases_rule: api::ReleaseRule::default(),
        blame: Arc::clone(&store) as _,
        approvals: Arc::clone(&store) as _,
        policies: Arc::clone(&store) as _,
        ordered: Arc::new(Registry::new(Routes::default())),
        backlog_seen: BacklogJob::channel().1,
        registry: Arc::new(Registry::new(Routes::default())),
        metrics: Arc::new(String::new),
        chains: Arc::default(),
        judge: Arc::new(EverythingIsPayable),
        tokens: Tokens::new(vec![Token {
            name: "bench".into(),
            sha256: api::token_digest(TOKEN),
            roles: vec![Role::Submit],
        }])?,
        flow: Flow::default(),
        limits: Limits::default(),
    });
    let stop = CancellationToken::new();
    let server = tokio::spawn(api::serve(listener, router, stop.clone(), Duration::from_secs(5)));
    println!("ready {address}");
    while heard().await {}
    stop.cancel();
    server.await??;
    store.close().await;
    Ok(())
}

struct EverythingIsPayable;

#[async_trait]
impl WithdrawalJudge for EverythingIsPayable {
    async fn judge(&self, _request: &WithdrawalRequest) -> Result<(), JudgeError> {
        Ok(())
    }
}
