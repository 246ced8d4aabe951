//! The plugins' own manifests, with an operator's changes.

use toml::{Table, Value};

use crate::machine::repository;

/// A manifest that is to lie beside a component.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The folder of the plugin below `plugins/`.
    pub package: String,
    table: Table,
}

impl Manifest {
    /// The manifest as it is shipped.
    ///
    /// # Panics
    /// There is no such plugin.
    #[must_use]
    pub fn shipped(package: &str) -> Self {
        let plugins = repository().join("plugins");
        let file = [plugins.join(package), plugins.join("examples").join(package)]
            .map(|folder| folder.join("plugin.toml"))
            .into_iter()
            .find(|file| file.is_file())
            .unwrap_or_else(|| panic!("no plugin {package}"));
        let table = std::fs::read_to_string(file).unwrap().parse().unwrap();
        Self { package: package.to_owned(), table }
    }

    /// Sets `section.key`.
    ///
    /// # Panics
    /// The section is no table.
    #[must_use]
    pub fn with(mut self, section: &str, key: &str, value: impl Into<Value>) -> Self {
        let empty = Value::Table(Table::new());
        let section = self.table.entry(section).or_insert(empty).as_table_mut().unwrap();
        section.insert(key.to_owned(), value.into());
        self
    }

    /// Sets a key outside of all sections.
    #[must_use]
    pub fn at_top(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.table.insert(key.to_owned(), value.into());
        self
    }

    /// The same plugin under another name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.at_top("name", name)
    }

    /// Lets it call one address of this machine.
    #[must_use]
    pub fn calling(self, url: &str) -> Self {
        let grant = Table::from_iter([
            ("origin".to_owned(), Value::from(url)),
            ("private".to_owned(), Value::from(true)),
        ]);
        self.with("grants", "http", vec![grant])
    }

    #[must_use]
    pub fn name(&self) -> &str {
        self.table["name"].as_str().unwrap_or_default()
    }

    #[must_use]
    pub fn text(&self) -> String {
        self.table.to_string()
    }
}

/// `partner-sync` for a partner at this address, and impatient.
#[must_use]
pub fn partner_sync(url: &str) -> Manifest {
    Manifest::shipped("partner-sync")
        .calling(url)
        .with("settings", "base_url", url)
        .with("retry", "base", "100ms")
        .with("retry", "cap", "500ms")
}

/// `evm-broadcast` for a node at this address, and impatient.
#[must_use]
pub fn evm_broadcast(network: &str, url: &str) -> Manifest {
    let urls = Table::from_iter([(network.to_owned(), Value::from(vec![url]))]);
    Manifest::shipped("evm-broadcast")
        .calling(url)
        .with("settings", "rpc_urls", urls)
        .with("retry", "base", "100ms")
        .with("retry", "cap", "1s")
}
