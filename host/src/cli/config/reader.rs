//! Reads a section of the configuration: each key is known, of its type, and in its range. What is
//! wrong is collected, so that a person corrects everything in one go.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::parse_duration;

use super::error::ConfigError;
use super::redacted::Redacted;
use super::source::{Document, Entry, Node, Origin, Value};

/// What all sections share.
pub(super) struct Context<'a> {
    pub(super) document: &'a Document,
    /// Relative paths begin at the file's folder.
    pub(super) folder: &'a Path,
    /// Looks up a variable of the environment.
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) errors: RefCell<Vec<ConfigError>>,
}

impl Context<'_> {
    pub(super) fn error(&self, at: &Origin, key: &str, message: impl Into<String>) {
        self.errors.borrow_mut().push(self.document.error(at, key, message.into()));
    }
}

pub(super) struct Section<'a> {
    context: &'a Context<'a>,
    /// `store`, `networks[0]`; empty for the file itself.
    path: String,
    at: Origin,
    entries: BTreeMap<String, Entry>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn root(context: &'a Context<'a>, entries: BTreeMap<String, Entry>) -> Self {
        Self { context, path: String::new(), at: Origin::File(0), entries, known: Vec::new() }
    }

    pub(super) const fn context(&self) -> &'a Context<'a> {
        self.context
    }

    /// Where the section begins.
    pub(super) const fn place(&self) -> &Origin {
        &self.at
    }

    pub(super) fn key(&self, name: &str) -> String {
        match (self.path.as_str(), name) {
            ("", name) => name.to_owned(),
            (path, "") => path.to_owned(),
            (path, name) => format!("{path}.{name}"),
        }
    }

    /// Tells that the section as a whole is wrong.
    pub(super) fn error(&self, name: &str, message: impl Into<String>) {
        self.context.error(&self.at, &self.key(name), message);
    }

    /// A required key that is not there.
    pub(super) fn missing<T>(&self, name: &str, example: &str) -> Option<T> {
        self.error(name, format!("is missing: add for example {example}"));
        None
    }

    pub(super) fn take(&mut self, name: &'static str) -> Option<Node> {
        self.known.push(name);
        self.entries.remove(name).map(|entry| entry.node)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    fn wrong_type(&self, name: &str, node: &Node, wanted: &str) {
        let message = format!("must be {wanted}, and is {}", node.value.kind());
        self.context.error(&node.origin, &self.key(name), message);
    }

    /// A text, as `read` understands it.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let node = self.take(name)?;
        let Value::Text(text) = &node.value else {
            self.wrong_type(name, &node, "a string");
            return None;
        };
        match read(text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.context.error(&node.origin, &self.key(name), message);
                None
            }
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.parsed(name, |text| {
            if text.is_empty() {
                Err("is empty: write it or leave it out".into())
            } else {
                Ok(text.to_owned())
            }
        })
    }

    pub(super) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(|text| self.context.folder.join(text))
    }

    pub(super) fn duration(
        &mut self,
        name: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let read = |text: &str| {
            let duration = parse_duration(text).map_err(|error| error.to_string())?;
            if range.contains(&duration) {
                return Ok(duration);
            }
            Err(format!("must lie between {:?} and {:?}", range.start(), range.end()))
        };
        self.parsed(name, read).unwrap_or(default)
    }

    /// A duration, or the word that stands for none.
    pub(super) fn duration_or(
        &mut self,
        name: &'static str,
        none: &str,
        default: Option<Duration>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let read = |text: &str| {
            if text == none {
                return Ok(None);
            }
            let duration = parse_duration(text).map_err(|e| format!("{e}; or write \"{none}\""))?;
            if range.contains(&duration) {
                return Ok(Some(duration));
            }
            let (start, end) = (range.start(), range.end());
            Err(format!("must lie between {start:?} and {end:?}, or be \"{none}\""))
        };
        self.parsed(name, read).unwrap_or(default)
    }

    pub(super) fn integer(
        &mut self,
        name: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let Some(node) = self.take(name) else { return default };
        let given = match (&node.value, &node.origin) {
            (Value::Integer(given), _) => Some(*given),
            // The environment knows only texts.
            (Value::Text(text), Origin::Variable(_)) => text.parse().ok(),
            _ => None,
        };
        let valid = given.and_then(|given| u64::try_from(given).ok()).filter(|n| range.contains(n));
        valid.unwrap_or_else(|| {
            let message = format!("must be an integer from {} to {}", range.start(), range.end());
            self.context.error(&node.origin, &self.key(name), message);
            default
        })
    }

    /// A list of texts, each as `read` understands it. None if there is no such key.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let node = self.take(name)?;
        let Value::List(items) = node.value else {
            self.wrong_type(name, &node, "an array of strings");
            return None;
        };
        let mut list = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            let key = format!("{}[{i}]", self.key(name));
            match &item.value {
                Value::Text(text) => match read(text) {
                    Ok(value) => list.push(value),
                    Err(message) => self.context.error(&item.origin, &key, message),
                },
                other => {
                    let message = format!("must be a string, and is {}", other.kind());
                    self.context.error(&item.origin, &key, message);
                }
            }
        }
        Some(list)
    }

    /// A section inside; an empty one if it is not there.
    pub(super) fn section(&mut self, name: &'static str) -> Self {
        let at = self.at.clone();
        let (at, entries) = match self.take(name) {
            None => (at, BTreeMap::new()),
            Some(Node { origin, value: Value::Table(entries) }) => (origin, entries),
            Some(node) => {
                self.wrong_type(name, &node, "a table");
                (at, BTreeMap::new())
            }
        };
        Self { context: self.context, path: self.key(name), at, entries, known: Vec::new() }
    }

    /// The tables of an array of tables.
    pub(super) fn sections(&mut self, name: &'static str) -> Vec<Self> {
        let Some(node) = self.take(name) else { return Vec::new() };
        let Value::List(items) = node.value else {
            self.wrong_type(
                name,
                &node,
                &format!("an array of tables, each begun with [[{name}]]"),
            );
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (i, item) in items.into_iter().enumerate() {
            let path = format!("{}[{i}]", self.key(name));
            match item {
                Node { origin: at, value: Value::Table(entries) } => {
                    let known = Vec::new();
                    sections.push(Self { context: self.context, path, at, entries, known });
                }
                node => {
                    let message = format!("must be a table, and is {}", node.value.kind());
                    self.context.error(&node.origin, &path, message);
                }
            }
        }
        sections
    }

    /// All keys of a table whose keys are names, each with its section.
    pub(super) fn named_sections(self) -> Vec<(String, Self)> {
        let mut sections = Vec::new();
        for (name, entry) in self.entries {
            let path = format!("{}.{name}", self.path);
            match entry.node {
                Node { origin: at, value: Value::Table(entries) } => {
                    let known = Vec::new();
                    sections.push((name, Self { context: self.context, path, at, entries, known }));
                }
                node => {
                    let message = format!("must be a table, and is {}", node.value.kind());
                    self.context.error(&node.origin, &path, message);
                }
            }
        }
        sections
    }

    /// A text that may hold a secret: `name`, or the content of the file that `file_name` names.
    pub(super) fn secret(
        &mut self,
        name: &'static str,
        file_name: &'static str,
    ) -> Option<Redacted> {
        let both = self.has(name) && self.has(file_name);
        let inline = self.text(name).map(Redacted::new);
        let from_file = self.secret_file(file_name);
        if both {
            self.error(name, format!("is given beside {file_name}: keep one of them"));
        }
        inline.or(from_file)
    }

    /// A secret that lies in a file. Line ends at its end do not belong to it.
    pub(super) fn secret_file(&mut self, name: &'static str) -> Option<Redacted> {
        let at = self.entries.get(name).map(|entry| entry.node.origin.clone());
        let path = self.path(name)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Redacted::new(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => {
                let message = format!("{} cannot be read: {error}", path.display());
                self.context.error(&at.unwrap_or(Origin::File(0)), &self.key(name), message);
                None
            }
        }
    }

    /// A file that holds a secret, and can be read now.
    pub(super) fn secret_path(&mut self, name: &'static str) -> Option<PathBuf> {
        let path = match &self.entries.get(name)?.node.value {
            Value::Text(text) => self.context.folder.join(text),
            Value::Integer(_) | Value::List(_) | Value::Table(_) | Value::Other(_) => {
                PathBuf::new()
            }
        };
        self.secret_file(name).map(|_| path)
    }

    /// A secret that lies in a variable of the environment, which this key names.
    pub(super) fn secret_variable(&mut self, name: &'static str) -> Option<Redacted> {
        let look_up = self.context.variable;
        self.parsed(name, |variable| {
            look_up(variable)
                .map(Redacted::new)
                .ok_or_else(|| format!("the variable {variable} is not set: set it"))
        })
    }

    /// Names the keys that nobody asked for.
    pub(super) fn finish(self) {
        for (name, entry) in &self.entries {
            let known = self.known.join(", ");
            let message = format!("is no key here: the keys are {known}");
            self.context.error(&entry.key, &self.key(name), message);
        }
    }
}
