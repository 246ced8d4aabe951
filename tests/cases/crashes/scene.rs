//! Three hosts on one Postgres, with a real broker, and stand-ins that stay when hosts go.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidegate::sandbox::{StandIns, TOKEN_CONTRACT};
use tidegate_tests::bench::partner_beside;
use tidegate_tests::fleet::Fleet;
use tidegate_tests::installation::{Installation, PARTNER_KEY};
use tidegate_tests::machine::target_folder;
use tidegate_tests::manifest::{Manifest, evm_broadcast, partner_sync};
use tidegate_tests::nats::Nats;
use tidegate_tests::node::Node;
use tidegate_tests::order::NETWORK;
use tidegate_tests::partner::Partner;
use tidegate_tests::postgres::Postgres;
use tidegate_tests::witness::Witness;

/// What services of the test's own write, beside withdrawals.
pub(super) const ORDER_PAID: &str = "ORDER_PAID";
pub(super) const STREAM: &str = "TIDEGATE";

/// Of the three hosts, by libfaketime: one is right, one ahead, one behind.
const CLOCKS: [&str; 3] = ["", "+1h", "-1h"];

/// Everything that runs, in the order in which it ends.
pub(super) struct Scene {
    pub(super) fleet: Arc<Fleet>,
    pub(super) witness: Witness,
    pub(super) partner: Partner,
    pub(super) node: Node,
    pub(super) nats: Nats,
    pub(super) postgres: Arc<Postgres>,
    _stand_ins: StandIns,
    installation: Installation,
}

/// What hosts and servers said is what remains of a failure that no seed repeats exactly.
impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let kept = target_folder().join(format!("crash-{}", std::process::id()));
            let copied = std::process::Command::new("cp")
                .arg("-r")
                .args([self.installation.path(), kept.as_path()])
                .status();
            eprintln!("logs: {}: {copied:?}", kept.display());
        }
    }
}

impl Scene {
    /// None where a server is not installed.
    pub(super) async fn start(binary: &Path) -> Option<Self> {
        let installation = Installation::new();
        let postgres = Postgres::start(installation.path()).await?;
        let nats = Nats::start(installation.path()).await?;
        // So short a memory that repeats are seen here, and not dropped by the broker.
        nats.create_stream(STREAM, "tidegate.>").await;
        let stand_ins = partner_beside(&installation).await;
        stand_ins.fund(installation.account().parse().unwrap()).unwrap();
        let installation = installation
            .with_network(NETWORK, &stand_ins.node_url, &TOKEN_CONTRACT.to_string())
            .with(&format!("[broker]\nkind = \"nats\"\nurl = \"{}\"", nats.url));
        installation.add(&evm_broadcast(NETWORK, &stand_ins.node_url)).await;
        installation.add(&partner_sync(&stand_ins.partner_url)).await;
        installation.add(&Manifest::shipped("event-publish")).await;
        let orders = Manifest::shipped("event-publish").named("order-publish");
        let orders = orders.at_top("handles", vec![ORDER_PAID]).at_top("ordered", false);
        installation.add(&orders).await;
        let fleet = Fleet::start(&installation, binary, postgres.port(), &CLOCKS).await;
        Some(Self {
            fleet: Arc::new(fleet),
            witness: Witness::install(&postgres.url).await,
            partner: Partner::new(&stand_ins.partner_url, Some(PARTNER_KEY)),
            node: Node::new(&stand_ins.node_url),
            nats,
            postgres: Arc::new(postgres),
            _stand_ins: stand_ins,
            installation,
        })
    }

    /// Where its hosts find their plugins.
    pub(super) fn plugins(&self) -> PathBuf {
        self.installation.path().join("plugins")
    }
}
