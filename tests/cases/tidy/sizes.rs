//! How long a file and a function may be, so that each can be read in one sitting. Tests aside.

use crate::exceptions::{Exception, LONG_FILES, LONG_FUNCTIONS};
use crate::source::{Source, end_of_block, sources};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

/// Each function of a file, with its lines.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let code = &source.code;
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("fn ").map(|at| from + at) {
        from = at + 3;
        let is_whole_word = at == 0
            || !code.as_bytes()[at - 1].is_ascii_alphanumeric() && code.as_bytes()[at - 1] != b'_';
        let name: String =
            code[from..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // A pointer to a function has no name, and a declaration has no body.
        let body = code[from..].find(['{', ';']).map(|at| from + at);
        let Some(open) = body.filter(|at| code.as_bytes()[*at] == b'{') else { continue };
        if is_whole_word && !name.is_empty() {
            let lines = code[at..end_of_block(code, open)].lines().count();
            found.push((format!("{}: {name}", source.path), lines));
        }
    }
    found
}

/// What is too long without an exception, and which exceptions nothing needs any more.
fn check(what: &str, max: usize, found: &[(String, usize)], exceptions: &[Exception]) {
    let too_long = || found.iter().filter(|(_, lines)| *lines > max);
    let mut wrong: Vec<String> = too_long()
        .filter(|(name, _)| !exceptions.iter().any(|exception| exception.what == name))
        .map(|(name, lines)| format!("{name} has {lines} lines; a {what} has at most {max}"))
        .collect();
    for exception in exceptions {
        assert!(exception.why.len() > 20, "{} needs a reason", exception.what);
        if !too_long().any(|(name, _)| name == exception.what) {
            wrong.push(format!("{} needs no exception any more: remove it", exception.what));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_file_is_read_in_one_sitting() {
    let found: Vec<_> =
        sources().iter().map(|source| (source.path.clone(), source.lines)).collect();
    check("file", FILE_LINES_MAX, &found, LONG_FILES);
}

#[test]
fn a_function_is_seen_at_one_glance() {
    let found: Vec<_> = sources().iter().flat_map(functions).collect();
    assert!(found.len() > 500, "functions are found");
    check("function", FUNCTION_LINES_MAX, &found, LONG_FUNCTIONS);
}
