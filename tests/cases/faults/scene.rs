//! A host at work, what its callers see while its store is away, and what must hold at the end.

use std::net::TcpListener;
use std::time::Duration;

use tidegate_tests::api::{Api, Reply, http_client, send};
use tidegate_tests::bench::Bench;
use tidegate_tests::eventually::eventually;
use tidegate_tests::host::Host;
use tidegate_tests::installation::Installation;
use tidegate_tests::oracle::{assert_paid_once, assert_partner_knows};
use tidegate_tests::order::Order;

use super::database::PASSWORD;

const SEEN_WITHIN: Duration = Duration::from_secs(60);
const DONE_WITHIN: Duration = Duration::from_secs(90);

/// A host, its targets, and the orders that were handed in.
pub(super) struct Scene {
    pub(super) bench: Bench,
    pub(super) host: Host,
    pub(super) api: Api,
    orders: Vec<Order>,
    ids: Vec<String>,
}

impl Scene {
    pub(super) async fn start(installation: Installation) -> Self {
        Self::start_with(installation, &[]).await
    }

    pub(super) async fn start_with(
        installation: Installation,
        environment: &[(String, String)],
    ) -> Self {
        let bench = Bench::on(installation).await;
        bench.add_plugins(|partner| partner).await;
        Self::of(bench, environment).await
    }

    /// Starts the host of a bench that has its plugins.
    pub(super) async fn of(bench: Bench, environment: &[(String, String)]) -> Self {
        let (host, api) = bench.installation.serve_with(environment).await;
        Self { bench, host, api, orders: Vec::new(), ids: Vec::new() }
    }

    /// An order that was not handed in yet.
    pub(super) fn next_order(&self) -> Order {
        Order::number(u32::try_from(self.orders.len()).unwrap() + 1)
    }

    /// Hands in an order that must be taken at once.
    pub(super) async fn submit(&mut self) -> String {
        let order = self.next_order();
        let id = self.api.submit(&order).await;
        self.orders.push(order);
        self.ids.push(id.clone());
        id
    }

    /// Hands the next order in, again and again with the same key, as a caller does that is told
    /// to come again. What it is told is checked each time.
    pub(super) async fn submit_through(&mut self) -> String {
        let order = self.next_order();
        let id = eventually("the order is taken", SEEN_WITHIN, async || {
            let reply = self.api.post(&order).await?;
            if reply.status == 201 {
                return Ok(reply.json()["id"].as_str().unwrap().to_owned());
            }
            assert_away(&reply);
            Err(reply.text)
        })
        .await;
        self.orders.push(order);
        self.ids.push(id.clone());
        id
    }

    /// The next order is refused with 503 and these words, and stays to be handed in. Some may be
    /// taken before the fault is met.
    pub(super) async fn is_refused(&mut self, words: &str) {
        for _ in 0..200 {
            let order = self.next_order();
            let reply = self.api.post(&order).await.unwrap();
            if reply.status == 201 {
                self.ids.push(reply.json()["id"].as_str().unwrap().to_owned());
                self.orders.push(order);
                continue;
            }
            assert_away(&reply);
            assert!(reply.text.contains(words), "{words}: {}", reply.text);
            return;
        }
        panic!("200 orders were taken, and none was refused with {words:?}");
    }

    /// `/readyz` is 503 and says this.
    pub(super) async fn is_not_ready(&self, words: &str) {
        eventually(&format!("it is not ready: {words}"), SEEN_WITHIN, async || {
            let reply = self.readiness().await?;
            if reply.status != 503 {
                return Err(reply.text);
            }
            assert_problem(&reply, "not-ready");
            if reply.text.contains(words) { Ok(()) } else { Err(reply.text) }
        })
        .await;
        let alive = send(http_client().get(format!("{}/healthz", self.api.url()))).await.unwrap();
        assert_eq!(alive.status, 200, "a store that is away is no reason to kill the host");
    }

    /// `/readyz` is 200 again; its answer.
    pub(super) async fn is_ready(&self) -> Reply {
        eventually("it is ready", SEEN_WITHIN, async || {
            let reply = self.readiness().await?;
            if reply.status == 200 { Ok(reply) } else { Err(reply.text) }
        })
        .await
    }

    async fn readiness(&self) -> Result<Reply, String> {
        send(http_client().get(format!("{}/readyz", self.api.url()))).await
    }

    /// Everything that was handed in is paid once and told once, by the host that was there all
    /// along.
    pub(super) async fn ends_well(mut self) {
        self.api.all_done(self.orders.len(), DONE_WITHIN).await;
        let transfers = self.bench.node.transfers().await;
        assert_paid_once(&self.api, &self.orders, &self.ids, &transfers).await;
        assert_partner_knows(&self.ids, &self.bench.partner.records().await);
        assert!(self.host.is_running());
        let log = self.host.log();
        assert!(!log.contains(PASSWORD), "no secret is logged: {log}");
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// A 503 that a program can live with: a problem document that says when to come again.
pub(super) fn assert_away(reply: &Reply) {
    assert_problem(reply, "unavailable");
    assert!(reply.text.contains("same Idempotency-Key"), "{}", reply.text);
}

fn assert_problem(reply: &Reply, kind: &str) {
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.json()["type"], format!("/problems/{kind}"), "{}", reply.text);
    let seconds: u32 = reply.header("retry-after").parse().expect("Retry-After is given");
    assert!((1..=60).contains(&seconds), "{seconds}");
    for secret in [PASSWORD, "127.0.0.1", "postgres://"] {
        assert!(!reply.text.contains(secret), "{secret}: {}", reply.text);
    }
}

/// A port for a server that will be away for a while: no outgoing connection is given it meanwhile.
pub(super) fn quiet_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    std::iter::repeat_with(|| fastrand::u16(12_000..20_000)).find(is_free).unwrap()
}
