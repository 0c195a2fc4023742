//! `schemas/rule.schema.json` against what the reader of headers takes: editors complete what rules may have, and all of it.
//! And what commit files come from.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, os::unix::fs::MetadataExt};

use serde_json::{Value, json};

use super::{watch::Watched, *};
use crate::rules::{defaults::Defaults, header};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(root().join("schemas/rule.schema.json")).unwrap()).unwrap()
}

/// The YAML of a rule file as JSON.
fn yaml(source: &Source) -> Value {
    let (header, _) = source.text.trim_start().trim_start_matches("/*").split_once("*/").unwrap();
    serde_saphyr::from_str(header).unwrap_or_else(|error| panic!("{}: {error}", source.path))
}

fn complaints(schema: &jsonschema::Validator, header: &Value) -> Vec<String> {
    schema.iter_errors(header).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn every_header_of_the_pack_fits_the_schema() {
    let schema = jsonschema::draft202012::new(&schema()).unwrap();
    for folder in ["sql/rules", "sql/demo"] {
        let found = sources(&root().join(folder), &["sql"], NAME_RULES).unwrap();
        assert!(!found.is_empty());
        for rule in found {
            let wrong = complaints(&schema, &yaml(&rule));
            assert!(wrong.is_empty(), "{}: {}", rule.path, wrong.join("; "));
        }
    }
}

#[test]
fn the_schema_is_a_schema_and_refuses_what_the_reader_refuses() {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema));
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    let good = json!({"name": "a", "tier": "data", "levels": {"warning": "value > 1"}, "for": "5m", "keep_firing_for": "0",
        "no_data": {"as": "zero", "expect": "replicas(database, replica)", "forget": "1h 30m"}, "history": {"x": "trend(value, INTERVAL '1 hour')"}});
    assert_eq!(complaints(&schema, &good), Vec::<String>::new());
    for (field, value) in [
        ("name", json!("A b")),
        ("tier", json!("date")),
        ("levels", json!({"healthy": "value > 1"})),
        ("for", json!({"healthy": "5m"})),
        ("for", json!("soon")),
        ("mode", json!("off")),
        ("no_data", json!({"as": "never"})),
        ("no_data", json!({"expect": "services"})),
        ("history", json!({"Not A Name": "1"})),
        ("fro", json!("5m")),
    ] {
        let mut header = good.clone();
        header[field] = value;
        assert!(!complaints(&schema, &header).is_empty(), "{header}");
    }
    let mut header = good;
    header["min_samples"] = json!(3);
    header["judge_when"] = json!("samples > 3");
    assert!(!complaints(&schema, &header).is_empty(), "{header}");
}

/// The words that the reader lists where it meets one that it does not know.
fn known(line: &str) -> BTreeSet<String> {
    let levels = if line.starts_with("levels") { "" } else { "levels: {warning: value > 1}\n" };
    let tier = if line.starts_with("tier") { "" } else { "tier: data\n" };
    let text = format!("/*\nname: x\n{tier}{levels}{line}\n*/\nSELECT 1");
    let problems = header::split(&Arc::new(Source { path: "x.sql".into(), text }), &Defaults::default()).unwrap_err();
    let message = &problems[0].message;
    let (_, words) = message.split_once("expected ").unwrap_or_else(|| panic!("{line}: {message}"));
    let words = words.trim_start_matches("one of ").split([',', ' ']).filter(|word| !word.is_empty() && *word != "or");
    words.map(|word| word.trim_matches('`').to_owned()).collect()
}

fn properties(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

/// Each field has a description of its own.
fn described(schema: &Value, path: &str) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        assert!(property["description"].as_str().is_some_and(|text| text.len() > 10), "{path}");
        described(property, &path);
    }
}

#[test]
fn the_schema_has_the_fields_of_the_reader_and_no_other() {
    let schema = schema();
    described(&schema, "");
    assert_eq!(properties(&schema), known("unheard_of: 1"));
    for part in ["levels", "until", "no_data", "annotations", "diagnose"] {
        assert_eq!(properties(&schema["properties"][part]), known(&format!("{part}: {{unheard_of: 1}}")), "{part}");
    }
    let words = |of: &Value| -> BTreeSet<String> {
        of["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let properties = &schema["properties"];
    assert_eq!(words(&properties["mode"]), known("mode: unheard_of"));
    assert_eq!(words(&properties["no_data"]["properties"]["as"]), known("no_data: {as: unheard_of}"));
    assert_eq!(words(&properties["tier"]), known("tier: unheard_of"));
    for function in crate::rules::history::FUNCTIONS {
        let told = properties["history"]["patternProperties"]["^[a-z_][a-z0-9_]*$"]["description"].as_str().unwrap();
        assert!(told.contains(&format!("{function}(")), "{function}");
    }
}

/// Runs Git in a folder, as somebody at a time.
fn git(folder: &Path, at: &str, words: &[&str]) {
    let mut git = std::process::Command::new("git");
    git.current_dir(folder).args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]);
    git.args(words).env("GIT_COMMITTER_DATE", at).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let output = git.output().unwrap();
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn rule_files_come_from_a_commit_where_they_are_as_they_are_in_it() {
    let root = tempfile::tempdir().unwrap();
    let one = root.path().join("one");
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let read = |below: &str| {
        let folder = root.path().join(below);
        let rules = sources(&folder, &["sql"], NAME_RULES).unwrap();
        // Tables elsewhere don't count.
        let tables = sources(&root.path().join("tables"), &["json"], NAME_RULES).unwrap();
        git::checkout(&Files { rules, tables, ..Files::default() }, &[&folder, &root.path().join("tables")])
    };
    let clean = |below: &str| read(below).map(|found| (found.time_ms, found.clean));
    write("tables/t.json", "{}");
    write("one/rules/a.sql", "a");
    write("one/rules/deep/b.sql", "b");
    write("one/README", "");
    assert_eq!(read("one/rules"), None, "no repository");
    git(&one, "@1000 +0000", &["init", "-q"]);
    assert_eq!(read("one/rules"), None, "no commit");
    git(&one, "@1000 +0000", &["add", "."]);
    git(&one, "@1000 +0000", &["commit", "-qm", "first"]);
    assert_eq!(clean("one/rules"), Some((1_000_000, true)));
    write("one/README", "of no rule");
    assert_eq!(clean("one/rules"), Some((1_000_000, true)), "what is not of the rules may change");

    write("one/rules/deep/b.sql", "c");
    assert_eq!(clean("one/rules"), Some((1_000_000, false)), "changed");
    write("one/rules/deep/b.sql", "b");
    write("one/rules/c.sql", "");
    assert_eq!(clean("one/rules"), Some((1_000_000, false)), "added");
    fs::remove_file(one.join("rules/c.sql")).unwrap();
    fs::remove_file(one.join("rules/deep/b.sql")).unwrap();
    assert_eq!(clean("one/rules"), Some((1_000_000, false)), "missing");
    write("one/other/d.sql", "");
    assert_eq!(read("one/other"), None, "beside what is in Git, and not in it");

    git(&one, "@2000 +0000", &["add", "."]);
    git(&one, "@2000 +0000", &["commit", "-qm", "second"]);
    git(&one, "@2000 +0000", &["gc", "-q"]);
    assert_eq!(clean("one/rules"), Some((2_000_000, true)), "packed");
    git(&one, "@3000 +0000", &["worktree", "add", "-q", "../two", "HEAD~1"]);
    assert_eq!(clean("two/rules"), Some((1_000_000, true)), "a worktree of the commit before");
    std::os::unix::fs::symlink(root.path().join("two"), root.path().join("current")).unwrap();
    assert_eq!(read("current/rules"), read("two/rules"), "a link to it");
    let commit = fs::read_to_string(one.join(".git/worktrees/two/HEAD")).unwrap();
    assert_eq!(read("two/rules").unwrap().commit, commit.trim());
}

/// Every version has the same length, and the same time of the last change: as from an archive. Clocks of file systems tick
/// every few milliseconds; it is written until the tick is another.
fn version(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let changed = || fs::metadata(path).ok().map(|found| (found.ctime(), found.ctime_nsec()));
    let before = changed();
    while changed() == before {
        fs::write(path, text).unwrap();
        fs::File::options().append(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
}

/// Sets a symbolic link anew, at once.
fn link(to: &Path, at: &Path) {
    let new = at.with_file_name("new");
    std::os::unix::fs::symlink(to, &new).unwrap();
    fs::rename(&new, at).unwrap();
}

/// How the files of rules came, or come to another version; the folder is for the test alone.
type Step = fn(&Path);

#[test]
fn changes_of_files_are_noticed_however_they_come() {
    // What it is, the path of the rules, the first version, and the second.
    let ways: [(&str, &str, Step, Step); 4] = [
        ("edited", "", |root| version(&root.join("a.sql"), "one"), |root| version(&root.join("a.sql"), "two")),
        (
            "replaced",
            "",
            |root| version(&root.join("a.sql"), "one"),
            |root| {
                version(&root.join("a.sql~"), "two");
                fs::rename(root.join("a.sql~"), root.join("a.sql")).unwrap();
            },
        ),
        (
            "a ConfigMap",
            "",
            |root| {
                version(&root.join("..2026_1/a.sql"), "one");
                link(Path::new("..2026_1"), &root.join("..data"));
                link(Path::new("..data/a.sql"), &root.join("a.sql"));
            },
            |root| {
                version(&root.join("..2026_2/a.sql"), "two");
                link(Path::new("..2026_2"), &root.join("..data"));
                fs::remove_dir_all(root.join("..2026_1")).unwrap();
            },
        ),
        (
            "a checkout behind a link",
            "current/rules",
            |root| {
                version(&root.join("one/rules/a.sql"), "one");
                link(Path::new("one"), &root.join("current"));
            },
            |root| {
                version(&root.join("two/rules/a.sql"), "two");
                link(Path::new("two"), &root.join("current"));
            },
        ),
    ];
    for (what, rules, first, second) in ways {
        let root = tempfile::tempdir().unwrap();
        first(root.path());
        let mut config =
            crate::config::load(&crate::config::Sources::default()).unwrap_or_else(|problems| panic!("{problems}"));
        config.rules.path = root.path().join(rules);
        let mut watched = Watched::in_use(&config);
        assert!(watched.changed(&config).is_none(), "{what}: as they were");
        second(root.path());
        assert!(watched.changed(&config).is_none(), "{what}: somebody may still be writing");
        let (files, _) = watched.changed(&config).unwrap_or_else(|| panic!("{what}: not noticed")).unwrap();
        assert_eq!(files.rules.iter().map(|rule| rule.text.as_str()).collect::<Vec<_>>(), ["two"], "{what}");
        assert!(watched.changed(&config).is_none(), "{what}: once");
        watched.look_again();
        assert!(watched.changed(&config).is_some(), "{what}: again, where somebody asks");
    }
}
