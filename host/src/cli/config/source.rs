//! Where a configuration's values come from: the file, and variables of the environment.
//!
//! A variable names a key of the file: `TIDEGATE_` and the key's path in upper case, its parts
//! joined by two underscores, or by one: `store.url` is `TIDEGATE_STORE__URL` or
//! `TIDEGATE_STORE_URL`. A variable wins over the file. Lists and tables are for the file only.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::error::ConfigError;

const PREFIX: &str = "TIDEGATE_";

/// The keys that a variable can set.
pub(super) const VARIABLES: [&str; 37] = [
    "listen",
    "http.body_max",
    "http.request_timeout",
    "http.requests_max",
    "http.backlog_age_max",
    "metrics.access",
    "store.url",
    "store.url_file",
    "store.connections_max",
    "store.pooler",
    "store.wait",
    "store.migrate",
    "plugins.dir",
    "plugins.cache_dir",
    "plugins.from",
    "plugins.widening",
    "plugins.prepare_timeout",
    "plugins.drain",
    "dispatch.lease",
    "dispatch.poll",
    "dispatch.grace",
    "dispatch.interruptions_max",
    "dispatch.batch",
    "dispatch.attempts_max",
    "retention.finished_events",
    "retention.releases",
    "retention.idempotency_keys",
    "broker.kind",
    "broker.url",
    "broker.url_file",
    "broker.stream",
    "broker.subject_prefix",
    "audit.file",
    "audit.file_max",
    "audit.files",
    "log.format",
    "log.filter",
];

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// Bytes from the start of the file.
    File(usize),
    Variable(String),
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i128),
    List(Vec<Node>),
    Table(BTreeMap<String, Entry>),
    /// A boolean, a float or a date: no key takes one.
    Other(&'static str),
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// A key's place and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: Origin,
    pub(super) node: Node,
}

impl Value {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::List(_) => "an array",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// The file's text, which knows lines and columns.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) name: String,
    text: String,
}

impl Document {
    pub(super) fn new(name: String, text: String) -> Self {
        Self { name, text }
    }

    pub(super) fn error(&self, at: &Origin, key: &str, message: String) -> ConfigError {
        let (source, position) = match at {
            Origin::File(offset) => (self.name.clone(), Some(self.position(*offset))),
            Origin::Variable(name) => (name.clone(), None),
        };
        ConfigError {
            source,
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            key: key.to_owned(),
            message,
        }
    }

    /// Line and column of a byte, both from 1; a column is a character.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (line, before[start..].chars().count() + 1)
    }

    /// The file as a tree, or everything that makes it no TOML.
    pub(super) fn parse(&self) -> Result<BTreeMap<String, Entry>, Vec<ConfigError>> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        if errors.is_empty() {
            return Ok(read_table(table.get_ref()));
        }
        Err(errors
            .iter()
            .map(|error| {
                let at = Origin::File(error.span().map_or(0, |span| span.start));
                self.error(&at, "", format!("this is no TOML: {}", error.message()))
            })
            .collect())
    }
}

fn read_table(table: &DeTable<'_>) -> BTreeMap<String, Entry> {
    table
        .iter()
        .map(|(key, value)| {
            let key_at = Origin::File(key.span().start);
            let node = read_value(value.span().start, value.get_ref());
            (key.get_ref().to_string(), Entry { key: key_at, node })
        })
        .collect()
}

fn read_value(offset: usize, value: &DeValue<'_>) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Other("an integer out of range"), Value::Integer),
        DeValue::Boolean(_) => Value::Other("a boolean"),
        DeValue::Array(items) => Value::List(
            items.iter().map(|item| read_value(item.span().start, item.get_ref())).collect(),
        ),
        DeValue::Table(table) => Value::Table(read_table(table)),
        DeValue::Float(_) => Value::Other("a float"),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node { origin: Origin::File(offset), value }
}

/// Puts the environment's values in their places. A variable with two underscores that names no
/// key is an error: it was meant for us, and would be ignored in silence.
pub(super) fn overlay(
    tree: &mut BTreeMap<String, Entry>,
    variables: impl IntoIterator<Item = (String, String)>,
    document: &Document,
) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut seen: BTreeMap<&str, String> = BTreeMap::new();
    let mut variables: Vec<_> = variables.into_iter().collect();
    variables.sort();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let joined = |path: &str, by: &str| path.replace('.', by).to_uppercase();
        let found =
            VARIABLES.into_iter().find(|key| joined(key, "__") == rest || joined(key, "_") == rest);
        let at = Origin::Variable(name.clone());
        match found {
            Some(key) => {
                if let Some(other) = seen.insert(key, name.clone()) {
                    let message = format!("{other} sets the same key: keep one of them");
                    errors.push(document.error(&at, key, message));
                }
                put(tree, key, at, value);
            }
            None if rest.contains("__") => {
                let message = "names no key that a variable can set: correct or remove it".into();
                errors.push(document.error(&at, "", message));
            }
            None => {}
        }
    }
    errors
}

fn put(tree: &mut BTreeMap<String, Entry>, key: &str, at: Origin, text: String) {
    let node = Node { origin: at.clone(), value: Value::Text(text) };
    let Some((section, name)) = key.split_once('.') else {
        tree.insert(key.to_owned(), Entry { key: at, node });
        return;
    };
    let empty = Node { origin: at.clone(), value: Value::Table(BTreeMap::new()) };
    let parent =
        tree.entry(section.to_owned()).or_insert_with(|| Entry { key: at.clone(), node: empty });
    // A section that is no table is an error of its own, told by who reads it.
    if let Value::Table(entries) = &mut parent.node.value {
        // `url` and `url_file` say the same in two ways; the variable replaces both.
        let twin = name.strip_suffix("_file").map_or(format!("{name}_file"), str::to_owned);
        entries.remove(&twin);
        entries.insert(name.to_owned(), Entry { key: at, node });
    }
}
