//! What lies at the top of the repository, what files are called, and what no file mentions.

use std::collections::BTreeSet;

use tidegate_tests::machine::repository;

use crate::source::files;

/// Beside files that begin with a dot.
const TOP: [&str; 9] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "host",
    "migrations",
    "plugins",
    "tests",
    "wit",
];

/// A name that says nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["utils", "common", "helpers", "models", "types"];

/// Folders of one machine, and names of tools that have no business in a source. In halves, so that
/// this file does not mention them either.
const UNMENTIONABLE: [[&str; 2]; 9] = [
    ["/ro", "ot/"],
    ["/ho", "me/"],
    ["/Use", "rs/"],
    ["/tmp/", "wt"],
    ["/wo", "rk/"],
    ["clau", "de"],
    ["anthro", "pic"],
    ["chat", "gpt"],
    ["copi", "lot"],
];

#[test]
fn the_top_level_holds_what_was_agreed_and_nothing_else() {
    let files = files();
    let top: BTreeSet<&str> = files.iter().map(|path| path.split('/').next().unwrap()).collect();
    let surprises: Vec<_> =
        top.into_iter().filter(|name| !name.starts_with('.') && !TOP.contains(name)).collect();
    assert!(surprises.is_empty(), "{surprises:?}");
}

#[test]
fn every_name_says_what_is_inside() {
    for path in files() {
        let empty = path.split(['/', '.']).find(|part| EMPTY_NAMES.contains(part));
        assert!(empty.is_none(), "{path}: {empty:?} names nothing");
    }
}

#[test]
fn the_fence_is_off_in_no_build_that_does_not_ask_for_it() {
    let wanted = ["host/Cargo.toml", "tests/Cargo.toml"];
    for path in files().iter().filter(|path| path.ends_with("Cargo.toml")) {
        let text = std::fs::read_to_string(repository().join(path)).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let of_default = manifest.get("features").and_then(|features| features.get("default"));
        assert!(of_default.is_none(), "{path} has default features");
        assert!(wanted.contains(&path.as_str()) || !text.contains("unfenced"), "{path}");
    }
}

#[test]
fn no_file_mentions_a_machine_or_how_it_was_made() {
    let mut places = Vec::new();
    for path in files() {
        // What is no text mentions nothing.
        let Ok(text) = std::fs::read_to_string(repository().join(&path)) else { continue };
        for (number, line) in (1..).zip(text.lines()) {
            for halves in UNMENTIONABLE {
                if line.to_lowercase().contains(&halves.concat().to_lowercase()) {
                    places.push(format!("{path}:{number}: {line}"));
                }
            }
        }
    }
    assert!(places.is_empty(), "{places:#?}");
}
