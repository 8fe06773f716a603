//! The README says what is so: its outcome table, its commands, its settings.

use qcc_gateway::cli::Arguments;
use qcc_gateway::domain::outcome::Outcome;
use qcc_gateway::domain::outcome_table::{Class, LastResort, Next, PathKind};

use crate::code::{code_of, paths, text, toml_keys};
use crate::defaults::loaded;

/// What a row says in the column "breaker".
fn breaker(outcome: Outcome) -> String {
    use qcc_gateway::domain::outcome::Reason;
    match outcome {
        Outcome::Success => "success: failures back to 0".to_owned(),
        Outcome::Failure(kind) => format!("failure `{}`", Reason::from(kind)),
        Outcome::Fatal(fatal) => format!("**isolates at once**, `{}`", Reason::from(fatal)),
        Outcome::Neutral | Outcome::Cancelled => "nothing".to_owned(),
    }
}

/// What a row says in the column "then".
fn then(next: Next) -> &'static str {
    match next {
        Next::Answer => "passed on",
        Next::Elsewhere(LastResort::ClientError) => "next endpoint; kept, 1st choice",
        Next::Elsewhere(LastResort::ServerError) => "next endpoint; kept, 2nd choice",
        Next::Elsewhere(LastResort::RateLimit) => "next endpoint; kept, 3rd choice",
        Next::Elsewhere(LastResort::Overload) => "next endpoint; at last our own 503",
        Next::Elsewhere(LastResort::Never) => "next endpoint; never passed on",
        Next::Stop => "upstream request dropped",
    }
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn the_list_of_classes_is_complete() {
    let code = code_of(&text("src/domain/outcome_table.rs"));
    let (_, after) = code.split_once("pub enum Class {").unwrap();
    let (variants, _) = after.split_once('}').unwrap();
    let names: Vec<String> = paths(variants).concat().into_iter().map(str::to_owned).collect();
    assert_eq!(names, Class::ALL.map(|class| format!("{class:?}")));
}

#[test]
fn the_outcome_table_is_the_one_in_effect() {
    let readme = text("README.md");
    let rows = readme.lines().skip_while(|line| !line.starts_with("| outcome |")).skip(2);
    let told: Vec<(String, String, String)> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| match cells(line).as_slice() {
            [word, what, breaker, then] if !what.is_empty() => {
                (word.trim_matches('`').to_owned(), (*breaker).to_owned(), (*then).to_owned())
            }
            _ => panic!("four filled cells are wanted: {line}"),
        })
        .collect();
    let in_effect = Class::ALL.map(|class| {
        let rule = class.rule(PathKind::Llm);
        (class.word().to_owned(), breaker(rule.outcome), then(rule.next).to_owned())
    });
    assert_eq!(told, in_effect);
}

/// The blocks of code in a language.
fn blocks(readme: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{language}") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
            blocks.push(block.join("\n"));
        }
    }
    assert!(!blocks.is_empty(), "no block of {language}");
    blocks
}

#[test]
fn its_commands_exist() {
    use clap::Parser;
    let readme = text("README.md");
    let mut seen = 0;
    for line in blocks(&readme, "sh").iter().flat_map(|block| block.lines()) {
        let command = line.split(" #").next().unwrap_or_default();
        let words: Vec<&str> = command.split_whitespace().skip_while(|word| word.contains('=')).collect();
        let arguments: Vec<&str> = match words.as_slice() {
            ["cargo", "run", ..] => words.iter().skip_while(|word| **word != "--").skip(1).copied().collect(),
            [program, arguments @ ..] if program.ends_with("qcc-gateway") => arguments.to_vec(),
            _ => continue,
        };
        let parsed = Arguments::try_parse_from(std::iter::once("qcc-gateway").chain(arguments));
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        seen += 1;
    }
    assert!(seen >= 4, "{seen} commands only");
    for command in ["cargo run --release -- demo", "cargo test"] {
        assert!(readme.lines().any(|line| line.split(" #").next().unwrap_or_default().trim() == command), "{command}");
    }
}

#[test]
fn its_settings_are_sound() {
    let variables = [("ANTHROPIC_API_KEY", "a"), ("BACKUP_API_KEY", "b"), ("OPENAI_API_KEY", "c"), ("ALICE_KEY", "d")];
    for block in blocks(&text("README.md"), "toml") {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &block).unwrap();
        let loaded = loaded(file.path().to_owned(), &variables);
        assert!(loaded.topology.iter().count() > 0, "{block}");
        assert!(loaded.notes.is_empty(), "the README shows what has no effect: {:?}", loaded.notes);
    }
}

#[test]
fn the_keys_that_it_names_exist() {
    let defaults = toml_keys("settings/default.toml");
    let mut seen = 0;
    for code in text("README.md").split('`').skip(1).step_by(2) {
        let Some((section, key)) = code.split_once('.') else { continue };
        let Some(keys) = defaults.get(section) else { continue };
        let key = key.split([' ', '=']).next().unwrap_or_default();
        assert!(key == "*" || keys.contains(key), "the README names `{code}`, which is no key");
        seen += 1;
    }
    assert!(seen >= 5, "{seen} keys only");
}
