//! The source as text, without what only looks like code: comments, and what stands in strings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// One source file.
pub(crate) struct Source {
    /// From the repository's root, with slashes.
    pub(crate) path: String,
    /// Its code.
    pub(crate) code: String,
}

impl Source {
    /// Whether it holds nothing but tests.
    pub(crate) fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/") || self.path.ends_with("/testing.rs")
    }
}

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file's text.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The keys of each table of a TOML file that has one key a line.
pub(crate) fn toml_keys(path: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut table = String::new();
    for line in text(path).lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.clone_into(&mut table);
        } else if let Some((key, _)) =
            line.split_once(" = ").filter(|(key, _)| key.chars().all(|c| is_word(c) || c == '-'))
        {
            tables.entry(table.clone()).or_default().insert(key.to_owned());
        }
    }
    tables
}

/// All Rust files below a directory. There is at least one, or the scan has lost its way.
pub(crate) fn sources(directory: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join(directory), &mut files);
    files.sort();
    assert!(!files.is_empty(), "no source below {directory}");
    let name = |file: &Path| file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    files.iter().map(|file| Source { path: name(file), code: code_of(&fs::read_to_string(file).unwrap()) }).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What the fuzz targets are built into.
            if path.file_name().is_some_and(|name| name == "target") {
                continue;
            }
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text without comments, and with every string and character emptied.
pub(crate) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let word = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let length = if let Some(length) = comment(rest) {
            code.push(' ');
            length
        } else if let Some(length) = literal(rest) {
            code.push_str("\"\"");
            length
        } else {
            let length = word.max(c.len_utf8());
            code.push_str(&rest[..length]);
            length
        };
        rest = &rest[length..];
    }
    code
}

/// The length of the comment with which the text begins. Block comments nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut depth = usize::from(text.starts_with("/*"));
    let mut end = 2;
    while depth > 0 {
        let next = text[end..].find(['/', '*'])? + end;
        (depth, end) = match &text.as_bytes()[next..] {
            [b'/', b'*', ..] => (depth + 1, next + 2),
            [b'*', b'/', ..] => (depth - 1, next + 2),
            _ => (depth, next + 1),
        };
    }
    (end > 2).then_some(end)
}

/// The length of the string or character with which the text begins, its prefix included.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let after = text.strip_prefix(prefix).map(|rest| rest.trim_start_matches('#'));
        after.is_some_and(|rest| rest.starts_with(['"', '\'']))
    })?;
    let body = &text[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    let opened = prefix.len() + hashes + 1;
    if prefix.ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return text[opened..].find(&end).map(|at| opened + at + end.len());
    }
    if hashes > 0 {
        return None;
    }
    let quote = body.chars().next()?;
    // What has no closing quote right behind one character is a lifetime.
    let mut inside = text[opened..].chars();
    if quote == '\'' && inside.next()? != '\\' && inside.next()? != '\'' {
        return None;
    }
    let mut is_escaped = false;
    for (at, c) in text[opened..].char_indices() {
        if c == quote && !is_escaped {
            return Some(opened + at + 1);
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    None
}

/// All paths of the code, such as `["std", "fmt", "Debug"]`; a lone word is a path too.
pub(crate) fn paths(code: &str) -> Vec<Vec<&str>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(is_word) {
        rest = &rest[start..];
        let mut path = Vec::new();
        loop {
            let (word, after) = rest.split_at(rest.find(|c| !is_word(c)).unwrap_or(rest.len()));
            path.push(word);
            rest = after;
            match after.strip_prefix("::").filter(|next| next.starts_with(is_word)) {
                Some(next) => rest = next,
                None => break,
            }
        }
        paths.push(path);
    }
    paths
}

#[test]
fn only_code_is_left() {
    for (text, code) in [
        ("a // todo!()\nb", "a  \nb"),
        ("a /* x /* y */ z */ b", "a   b"),
        (r#"f("// no comment", b'"', 'c', '\'')"#, r#"f("", "", "", "")"#),
        (r##"g(r#"a "quoted" b"#, "\"//")"##, r#"g("", "")"#),
        ("fn f<'a>(x: &'a str, y: &'static str)", "fn f<'a>(x: &'a str, y: &'static str)"),
        ("for x in bar { r#type }", "for x in bar { r#type }"),
        ("10 / 2 * 3", "10 / 2 * 3"),
    ] {
        assert_eq!(code_of(text), code, "{text}");
    }
}

#[test]
fn paths_are_read_whole() {
    assert_eq!(paths("use a::b::{c, d}; e"), [vec!["use"], vec!["a", "b"], vec!["c"], vec!["d"], vec!["e"]]);
}

#[test]
fn no_exception_is_made_silently() {
    for source in sources("src").into_iter().chain(sources("tests")) {
        let Source { path, code } = source;
        for banned in ["#[allow(", "#![allow(", "#[ignore", "todo!", "unimplemented!", "thread::sleep", "unsafe {"] {
            assert!(!code.contains(banned), "{path} has {banned}");
        }
    }
}
