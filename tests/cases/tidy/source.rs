//! Source files, with what is no code taken away.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tidegate_tests::machine::repository;

/// A Rust file.
pub(crate) struct Source {
    /// Relative to the repository.
    pub(crate) path: String,
    /// Comments, texts and the modules of tests are blank; lines are where they were.
    pub(crate) code: String,
    /// How many lines are not of test modules.
    pub(crate) lines: usize,
}

impl Source {
    fn read(path: &str) -> Self {
        let text = std::fs::read_to_string(repository().join(path)).unwrap();
        let mut code = without_comments_and_texts(&text);
        let mut lines = text.lines().count();
        for tests in test_modules(&code) {
            lines -= code[tests.clone()].lines().count();
            blank(&mut code, tests);
        }
        Self { path: path.to_owned(), code, lines }
    }

    /// The module of `host/src` that it belongs to, if it is of the host.
    pub(crate) fn module(&self) -> Option<&str> {
        let below = self.path.strip_prefix("host/src/")?;
        Some(below.split_once('/').map_or(below.trim_end_matches(".rs"), |(folder, _)| folder))
    }

    /// The identifiers of its code, with the number of their line.
    pub(crate) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        (1..).zip(self.code.lines()).flat_map(move |(number, line)| {
            let words = line.split(move |c| !is_word(c)).filter(|word| !word.is_empty());
            words.map(move |word| (number, word))
        })
    }
}

/// Every file of the repository, whether it is committed yet or not.
pub(crate) fn files() -> Vec<String> {
    let listed = Command::new("git")
        // Whoever owns the checkout, it is only read.
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(repository())
        .output()
        .expect("git is installed");
    let said = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success(), "this is a checkout: {said}");
    let names = String::from_utf8(listed.stdout).unwrap();
    let names: BTreeSet<&str> = names.split_terminator('\0').collect();
    let exists = |name: &&str| repository().join(name).is_file();
    names.into_iter().filter(exists).map(str::to_owned).collect()
}

/// Every Rust file that is not one of tests.
pub(crate) fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(read_sources)
}

fn read_sources() -> Vec<Source> {
    let all: Vec<String> = files().into_iter().filter(|path| path.ends_with(".rs")).collect();
    let mut of_tests: Vec<PathBuf> = Vec::new();
    for path in &all {
        let text = std::fs::read_to_string(repository().join(path)).unwrap();
        of_tests.extend(declared_test_modules(Path::new(path), &text));
    }
    let is_of_tests = |path: &str| {
        path.starts_with("tests/cases/")
            || path.starts_with("tests/fixtures/")
            || path.ends_with("_test.rs")
            || path.ends_with("_tests.rs")
            || of_tests.iter().any(|module| {
                Path::new(path) == module.with_extension("rs")
                    || Path::new(path).starts_with(module)
            })
    };
    all.iter().filter(|path| !is_of_tests(path)).map(|path| Source::read(path)).collect()
}

/// What `#[cfg(test)] mod name;` declares in this file, without an extension.
fn declared_test_modules(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") => path.parent().unwrap().to_owned(),
        _ => path.with_extension(""),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]").filter_map(|pair| {
        let name = pair[1].strip_suffix(';')?;
        name.rsplit_once("mod ").map(|(_, name)| folder.join(name))
    });
    declared.collect()
}

/// The parts of a file that are `#[cfg(test)] mod name { … }`.
fn test_modules(code: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]").map(|at| from + at) {
        from = at + 1;
        let head = code[at..].split_inclusive('{').next().unwrap_or_default();
        if head.contains("mod ") && !head.contains(';') {
            let end = end_of_block(code, at + head.len() - 1);
            found.push(at..end);
            from = end;
        }
    }
    found
}

/// Behind the brace that closes the one at `open`.
pub(crate) fn end_of_block(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    panic!("a brace is not closed");
}

fn blank(code: &mut String, range: Range<usize>) {
    let spaces = blanked(&code[range.clone()]);
    code.replace_range(range, &spaces);
}

/// As long, with the same line ends, and nothing else.
fn blanked(text: &str) -> String {
    text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
}

/// Rust without its comments and the insides of its texts, each byte in its place.
pub(crate) fn without_comments_and_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let length = match length_of_blank(rest) {
            Some(length) => {
                code.push_str(&blanked(&rest[..length]));
                length
            }
            None => {
                let first = rest.chars().next().unwrap();
                // A byte each, so that places stay the same.
                let shown = if first.is_ascii() {
                    String::from(first)
                } else {
                    blanked(&rest[..first.len_utf8()])
                };
                code.push_str(&shown);
                first.len_utf8()
            }
        };
        // A word is taken whole: the r of `for"` begins no raw text.
        let word = rest[length..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_');
        let is_word = rest.as_bytes()[0].is_ascii_alphanumeric() || rest.as_bytes()[0] == b'_';
        let word = if is_word && length == 1 { word.count() } else { 0 };
        code.push_str(&rest[length..length + word]);
        rest = &rest[length + word..];
    }
    code
}

/// How long the comment, text or character is that begins here.
fn length_of_blank(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |at| at + 2));
    }
    let prefix = rest.bytes().take_while(|byte| matches!(byte, b'b' | b'r' | b'c')).count();
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let open = prefix + hashes;
    if rest[prefix.min(rest.len())..].starts_with('#') && !rest[..prefix].contains('r') {
        return None;
    }
    if rest[open..].starts_with('"') {
        let inside = &rest[open + 1..];
        let length = if rest[..prefix].contains('r') {
            let end = format!("\"{}", "#".repeat(hashes));
            inside.find(&end).map_or(inside.len(), |at| at + end.len())
        } else {
            end_of_text(inside, b'"')
        };
        return Some(open + 1 + length);
    }
    // A character, and not a lifetime: `'a'`, `'\n'`, `b'{'`.
    let quote = usize::from(rest.starts_with('b'));
    let inside = rest[quote..].strip_prefix('\'')?;
    let is_escape = inside.starts_with('\\');
    let closes = inside.chars().nth(1) == Some('\'');
    (is_escape || closes).then(|| {
        let first = if is_escape { 0 } else { inside.chars().next().map_or(0, char::len_utf8) };
        quote + 1 + first + end_of_text(&inside[first..], b'\'')
    })
}

/// Behind the quote that ends a text with escapes.
fn end_of_text(inside: &str, quote: u8) -> usize {
    let mut is_escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    inside.len()
}

#[test]
fn comments_and_texts_are_blank_and_code_stays_in_its_place() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b\n */ c", "a     \n    c"),
        (r#"f("}{", x)"#, r"f(    , x)"),
        (r#"f("a\"}", x)"#, "f(      , x)"),
        (r##"f(r#"}"{"#, x)"##, "f(        , x)"),
        (r"f(b'{', '\'', 'x')", "f(    ,     ,    )"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("#[cfg(test)]", "#[cfg(test)]"),
        ("bar(\"x\")", "bar(   )"),
        ("'→' + 'b'", "      +    "),
    ] {
        let found = without_comments_and_texts(text);
        assert_eq!(found.trim_end(), code.trim_end(), "{text}");
        assert_eq!(found.len(), text.len(), "{text}");
    }
}
