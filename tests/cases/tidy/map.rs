//! The sentences of `host/src/lib.rs`: who knows whom.

use crate::source::{Source, sources};

/// What each module may import of ours: `cli → api, jobs, sandbox → plugin, chain, store, broker →
/// domain`. What is missing here is forbidden; what stands here and is not used is removed.
const IMPORTS: [(&str, &[&str]); 9] = [
    ("domain", &[]),
    ("store", &["domain"]),
    ("broker", &[]),
    ("plugin", &["domain"]),
    ("chain", &["domain", "store"]),
    ("jobs", &["broker", "chain", "domain", "plugin", "store"]),
    ("api", &["chain", "domain", "plugin", "store"]),
    ("sandbox", &["broker"]),
    ("cli", &["api", "broker", "chain", "domain", "jobs", "plugin", "sandbox", "store"]),
];

/// The store's traits, but for the one that is `chain`'s.
const STORES_OF_OTHERS: [&str; 11] = [
    "AcceptStore",
    "BacklogStore",
    "BreakerStore",
    "CheckpointStore",
    "ControlStore",
    "DispatchStore",
    "LimitStore",
    "MaintainStore",
    "OperateStore",
    "PolicyStore",
    "RetainStore",
];

fn of_host() -> Vec<&'static Source> {
    let of_host: Vec<_> = sources().iter().filter(|it| it.module().is_some()).collect();
    assert!(of_host.len() > 50, "the host is found");
    of_host
}

/// The places where a module names one of these words.
fn named_in(module: &str, words: &[&str]) -> Vec<String> {
    let mut places = Vec::new();
    for source in of_host().iter().filter(|source| source.module() == Some(module)) {
        for (line, word) in source.words() {
            if words.contains(&word) {
                places.push(format!("{}:{line} names {word}", source.path));
            }
        }
    }
    places
}

/// The modules of ours that a file reaches through `crate::` and `super::`.
fn imports(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let code: String = source.code.split_whitespace().collect::<Vec<_>>().join(" ");
    let code = code.replace(":: ", "::").replace("{ ", "{").replace(", ", ",");
    let below = source.path.trim_start_matches("host/src/").trim_end_matches(".rs");
    let depth = below.trim_end_matches("/mod").split('/').count();
    let to_root = "super::".repeat(depth);
    for start in ["crate::", to_root.as_str()] {
        for after in code.split(start).skip(1) {
            match after.strip_prefix('{') {
                Some(group) => found.extend(heads_of_group(group)),
                None => found.push(head(after)),
            }
        }
    }
    found.retain(|name| IMPORTS.iter().any(|(module, _)| module == name));
    found.sort();
    found.dedup();
    found
}

fn head(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// `a` and `c` of `a::{b, d}, c}`.
fn heads_of_group(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut begins) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins => {
                heads.push(head(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    heads
}

#[test]
fn every_folder_of_the_host_is_on_the_map() {
    for source in of_host() {
        let module = source.module().unwrap();
        let known = IMPORTS.iter().any(|(name, _)| *name == module);
        // `fuzzing` is no part of the product: it exists in the build of the fuzz targets alone.
        assert!(
            known || ["lib", "main", "fuzzing"].contains(&module),
            "{} is on no map",
            source.path
        );
    }
    let page =
        std::fs::read_to_string(tidegate_tests::machine::repository().join("host/src/lib.rs"));
    let page = page.unwrap();
    for (module, _) in IMPORTS {
        assert!(page.contains(&format!("//! - [`{module}`]: ")), "{module} has no line in lib.rs");
    }
}

#[test]
fn imports_point_one_way() {
    let files = of_host();
    let mut wrong = Vec::new();
    for (module, allowed) in IMPORTS {
        let mut used = Vec::new();
        for source in files.iter().filter(|source| source.module() == Some(module)) {
            for import in imports(source).into_iter().filter(|import| import != module) {
                if !allowed.contains(&import.as_str()) {
                    wrong.push(format!("{} imports {import}", source.path));
                }
                used.push(import);
            }
        }
        for name in allowed.iter().filter(|name| !used.iter().any(|import| import == *name)) {
            wrong.push(format!("{module} no longer imports {name}: remove it from this test"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn domain_does_no_io_reads_no_clock_and_knows_no_async() {
    let forbidden = [
        "async",
        "await",
        "tokio",
        "SystemTime",
        "Instant",
        "fs",
        "net",
        "process",
        "env",
        "thread",
        "println",
        "eprintln",
        "tracing",
        "sqlx",
        "axum",
        "wasmtime",
        "reqwest",
    ];
    let mut places = named_in("domain", &forbidden);
    let files = of_host();
    for source in files.iter().filter(|source| source.module() == Some("domain")) {
        for reading in ["Utc::now", "Local::now", "fastrand", "random"] {
            if source.code.contains(reading) {
                places.push(format!("{} calls {reading}", source.path));
            }
        }
    }
    assert!(places.is_empty(), "{places:#?}");
}

/// Only these modules may name the word.
fn only(word: &str, modules: &[&str]) {
    let others = IMPORTS.iter().map(|(module, _)| *module).filter(|name| !modules.contains(name));
    let places: Vec<_> = others.flat_map(|module| named_in(module, &[word])).collect();
    assert!(places.is_empty(), "{places:#?}");
    assert!(modules.iter().any(|module| !named_in(module, &[word]).is_empty()), "{word} is used");
}

#[test]
fn only_store_contains_sql() {
    only("sqlx", &["store"]);
}

#[test]
fn only_plugin_names_wasmtime() {
    for word in ["wasmtime", "wasmtime_wasi", "wasmtime_wasi_http"] {
        only(word, &["plugin", "sandbox"]);
    }
}

#[test]
fn only_api_and_sandbox_name_axum() {
    only("axum", &["api", "sandbox"]);
}

#[test]
fn only_chain_and_sandbox_name_the_crates_of_ethereum() {
    for word in ["alloy_consensus", "alloy_eips", "k256", "eth_keystore"] {
        only(word, &["chain", "sandbox"]);
    }
}

#[test]
fn of_the_store_chain_knows_only_its_own_trait() {
    let places = named_in("chain", &STORES_OF_OTHERS);
    assert!(places.is_empty(), "{places:#?}");
    for store in STORES_OF_OTHERS {
        assert!(!named_in("store", &[store]).is_empty(), "{store} is one of the store's traits");
    }
}

#[test]
fn no_job_calls_another() {
    const JOBS: [(&str, &str); 6] = [
        ("dispatcher", "DispatcherJob"),
        ("retry", "RetryJob"),
        ("failure", "FailureJob"),
        ("retention", "RetentionJob"),
        ("backlog", "BacklogJob"),
        ("confirmation", "ConfirmationJob"),
    ];
    let files = of_host();
    let mut places = Vec::new();
    for (job, _) in JOBS {
        let own = |source: &&&Source| {
            let path = source.path.trim_start_matches("host/src/jobs/");
            path.starts_with(&format!("{job}.rs")) || path.starts_with(&format!("{job}/"))
        };
        assert!(files.iter().any(|source| own(&source)), "{job} is a job");
        for source in files.iter().filter(own) {
            for (other, name) in JOBS.iter().filter(|(other, _)| *other != job) {
                let names = source.words().any(|(_, word)| word == *name);
                if names || source.code.contains(&format!("super::{other}::")) {
                    places.push(format!("{} knows {other}", source.path));
                }
            }
        }
    }
    assert!(places.is_empty(), "{places:#?}");
}
