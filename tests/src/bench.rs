//! An installation for `serve` whose targets are stand-ins in the test's own process, so that they
//! stay when the host goes.

use tidegate::sandbox::{StandIns, StandInsOptions, TOKEN_CONTRACT};

use crate::installation::{Installation, PARTNER_KEY, QUIET_FLOW};
use crate::manifest::{Manifest, evm_broadcast, partner_sync};
use crate::node::Node;
use crate::order::NETWORK;
use crate::partner::Partner;

/// SQLite, one network, no broker, and no plugins until they are added.
pub struct Bench {
    pub installation: Installation,
    pub partner: Partner,
    pub node: Node,
    pub stand_ins: StandIns,
}

impl Bench {
    /// # Panics
    /// The stand-ins do not start.
    pub async fn start() -> Self {
        Self::on(Installation::new().with_sqlite()).await
    }

    /// The same, with another store.
    ///
    /// # Panics
    /// The stand-ins do not start.
    pub async fn on(installation: Installation) -> Self {
        let installation = installation.with(QUIET_FLOW);
        let stand_ins = partner_beside(&installation).await;
        stand_ins.fund(installation.account().parse().unwrap()).unwrap();
        let node_url = &stand_ins.node_url;
        let installation =
            installation.with_network(NETWORK, node_url, &TOKEN_CONTRACT.to_string());
        Self {
            partner: Partner::new(&stand_ins.partner_url, Some(PARTNER_KEY)),
            node: Node::new(node_url),
            installation,
            stand_ins,
        }
    }

    /// Adds the plugins that carry a withdrawal, the partner's with these changes.
    pub async fn add_plugins(&self, change: impl FnOnce(Manifest) -> Manifest) {
        self.installation.add(&evm_broadcast(NETWORK, &self.stand_ins.node_url)).await;
        self.installation.add(&change(partner_sync(&self.stand_ins.partner_url))).await;
    }
}

/// Stand-ins whose partner lets this installation in.
///
/// # Panics
/// They do not start.
pub async fn partner_beside(installation: &Installation) -> StandIns {
    let options =
        StandInsOptions { partner_api_key: Some(PARTNER_KEY.into()), ..StandInsOptions::default() };
    StandIns::start(installation.path(), options).await.unwrap()
}
