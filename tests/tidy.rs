//! The repository tests itself: what `ARCHITECTURE.md` says is absent stays absent, so that nobody needs to remember.
//!
//! Files are read as text. Paths that are named by `use` count in full, however their braces are nested; what stands
//! in a comment does not count where the rule is about code. Each test names all offenders as `path:line`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::PathBuf};

/// The rooms of the core in the order in which data flows. None names one that comes after it.
const FLOW: [&str; 4] = ["rules", "decode", "fold", "judge"];
/// The core's files that are in no room.
const LOOSE: [&str; 8] =
    ["panes.rs", "position.rs", "spread.rs", "partial.rs", "time.rs", "backtest.rs", "rule_test.rs", "plot.rs"];
/// The house around the core: whatever reads, writes, waits or is configured.
const OUTSIDE: [&str; 8] = ["kafka", "store", "notify", "pipeline", "web", "config", "files", "cli"];
/// What the core has no door to.
const DOORS: &str = "rdkafka rdkafka_sys clickhouse std::env std::fs std::net \
                     SystemTime::now Instant::now Utc::now Local::now tokio::spawn tokio::task thread::spawn";
/// More lines than this are two subjects in one file.
const LINES_MAX: usize = 700;
/// Files that may be longer, and why.
const LONG: [(&str, &str); 0] = [];

/// A file of the repository.
struct Source {
    /// Its path from the root, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    /// Its lines from 1, without line comments. A `//` behind an odd number of quotes is inside a text.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines()).map(|(number, line)| {
            let comment = line.match_indices("//").find(|(at, _)| line[..*at].matches('"').count() % 2 == 0);
            (number, comment.map_or(line, |(at, _)| &line[..at]))
        })
    }

    /// Whatever may name a path: each line of code, and each `use` taken apart, its `super` replaced.
    fn names(&self) -> Vec<(usize, String)> {
        let mut names: Vec<(usize, String)> = self.code().map(|(number, line)| (number, line.to_owned())).collect();
        let mut lines = self.code();
        while let Some((number, line)) = lines.next() {
            let Some(tree) = used(line) else { continue };
            let mut tree = tree.to_owned();
            while !tree.contains(';') {
                let Some((_, line)) = lines.next() else { break };
                tree += "\n";
                tree += line;
            }
            let mut leaves = Vec::new();
            leaves_of(&mut tree.chars().take_while(|c| *c != ';'), "", &mut { number }, &mut leaves);
            names.extend(leaves.into_iter().map(|(number, leaf)| (number, self.absolute(&leaf))));
        }
        names
    }

    /// A path with `super` replaced by the module that it means here.
    fn absolute(&self, path: &str) -> String {
        let module = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut above: Vec<&str> = module.trim_end_matches("/mod").split('/').collect();
        let mut rest = path;
        while let Some(below) = rest.strip_prefix("super::") {
            above.pop();
            rest = below;
        }
        if rest == path {
            return path.to_owned();
        }
        ["crate"].into_iter().chain(above).chain([rest]).collect::<Vec<_>>().join("::")
    }

    /// The lines that name one of `words`, each as `path:line: word`.
    fn naming(&self, words: &str) -> Vec<String> {
        let mut found: Vec<(usize, &str)> = Vec::new();
        for (number, name) in self.names() {
            found.extend(words.split_whitespace().filter(|word| has_word(&name, word)).map(|word| (number, word)));
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|(number, word)| format!("{}:{number}: {word}", self.path)).collect()
    }
}

/// What a line uses, where it begins a `use`.
fn used(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = if line.starts_with("pub") { line.split_once(' ')?.1 } else { line };
    line.strip_prefix("use ")
}

/// The paths of a `use` tree, each with its line.
fn leaves_of(tree: &mut dyn Iterator<Item = char>, prefix: &str, line: &mut usize, leaves: &mut Vec<(usize, String)>) {
    let mut name = String::new();
    loop {
        let next = tree.next();
        match next {
            Some('{') => {
                let path = format!("{prefix}{}", name.trim());
                name.clear();
                leaves_of(tree, &path, line, leaves);
            }
            Some(',' | '}') | None => {
                if !name.trim().is_empty() {
                    leaves.push((*line, format!("{prefix}{}", name.trim())));
                }
                name.clear();
            }
            Some('\n') => *line += 1,
            Some(c) => name.push(c),
        }
        if matches!(next, Some('}') | None) {
            break;
        }
    }
}

/// True where `word` stands in `text` and is not part of a longer word.
fn has_word(text: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(inside) && !text[at + word.len()..].starts_with(inside))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files at or below `place` with that ending, in the order of their names; there must be some.
fn sources(place: &str, ending: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut places = vec![root().join(place)];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else if place.to_str().unwrap().ends_with(ending) {
            let path = place.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
            found.push(Source { path, text: fs::read_to_string(place).unwrap() });
        }
    }
    assert!(!found.is_empty(), "there is no {ending} file in {place}");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rust() -> Vec<Source> {
    [sources("src", ".rs"), sources("tests", ".rs")].into_iter().flatten().collect()
}

fn none(what: &str, offenders: impl IntoIterator<Item = String>) {
    let offenders: Vec<String> = offenders.into_iter().collect();
    assert!(offenders.is_empty(), "{what}:\n  {}", offenders.join("\n  "));
}

#[test]
fn the_core_has_no_door_to_the_world() {
    // The loops ask an edge for all of that, so that the simulator can answer.
    let core = FLOW.into_iter().chain(LOOSE).chain(["loops"]).flat_map(|place| sources(&format!("src/{place}"), ".rs"));
    none(
        "the core reads no clock, file, network or environment, and spawns nothing",
        core.flat_map(|file| file.naming(DOORS)),
    );
}

#[test]
fn data_flows_down() {
    let crates = |rooms: &[&str]| rooms.iter().map(|room| format!("crate::{room} ")).collect::<String>();
    let mut offenders = Vec::new();
    for (at, room) in FLOW.into_iter().enumerate() {
        let later = crates(&FLOW[at + 1..]) + &crates(&OUTSIDE);
        offenders.extend(sources(&format!("src/{room}"), ".rs").iter().flat_map(|file| file.naming(&later)));
    }
    for file in LOOSE.into_iter().flat_map(|file| sources(&format!("src/{file}"), ".rs")) {
        offenders.extend(file.naming(&crates(&OUTSIDE)));
    }
    none("a room names one that comes after it", offenders);
}

#[test]
fn commands_are_named_by_main_alone() {
    let may = |file: &Source| file.path.starts_with("src/cli/") || file.path == "src/main.rs";
    let others = sources("src", ".rs").into_iter().filter(|file| !may(file));
    none(
        "only main and the commands know the commands",
        others.flat_map(|file| file.naming("crate::cli tierwatch::cli")),
    );
}

#[test]
fn every_file_says_what_lives_in_it() {
    let silent = rust().into_iter().filter(|file| !file.text.starts_with("//! "));
    none("a file opens with //!", silent.map(|file| format!("{}:1", file.path)));
}

#[test]
fn nothing_is_left_undone() {
    // Written in parts, so that they are not found here.
    let marks = [concat!("to", "do!"), concat!("un", "implemented!"), concat!("#[", "ignore"), concat!("d", "bg!")];
    let mut offenders = Vec::new();
    for file in rust() {
        for (number, line) in (1..).zip(file.text.lines()) {
            offenders.extend(
                marks.iter().filter(|mark| line.contains(**mark)).map(|mark| format!("{}:{number}: {mark}", file.path)),
            );
        }
    }
    none("a mark of unfinished work", offenders);
}

#[test]
fn files_are_short_and_the_list_of_long_ones_is_honest() {
    let files = rust();
    let mut offenders = Vec::new();
    for file in &files {
        let lines = file.text.lines().count();
        if lines > LINES_MAX && !LONG.iter().any(|(path, _)| *path == file.path) {
            offenders.push(format!("{}:{lines}: longer than {LINES_MAX} lines", file.path));
        }
    }
    for (path, _) in LONG {
        match files.iter().find(|file| file.path == path).map(|file| file.text.lines().count()) {
            None => offenders.push(format!("{path}:1: is listed as long and is not there")),
            Some(lines) if lines <= LINES_MAX => {
                offenders.push(format!("{path}:{lines}: is listed as long and no longer is"))
            }
            Some(_) => {}
        }
    }
    none("split it, or list it with a reason", offenders);
}

#[test]
fn unsafe_has_one_home() {
    let others = rust().into_iter().filter(|file| file.path != "src/kafka/sys.rs");
    none("it has no other home than src/kafka/sys.rs", others.flat_map(|file| file.naming(concat!("un", "safe"))));
}

#[test]
fn rules_are_filed_under_their_names_and_tiers() {
    let mut offenders = Vec::new();
    for file in sources("sql/rules", ".sql") {
        let parts: Vec<&str> = file.path.trim_start_matches("sql/rules/").trim_end_matches(".sql").split('/').collect();
        let [folder, stem] = parts.as_slice() else {
            offenders.push(format!("{}:1: lies in no folder of a tier", file.path));
            continue;
        };
        for (field, wanted) in [("name", stem), ("tier", folder)] {
            let line = (1..)
                .zip(file.text.lines())
                .find_map(|(number, line)| Some((number, line.strip_prefix(field)?.strip_prefix(':')?)));
            match line.map(|(number, value)| (number, value.split('#').next().unwrap_or_default().trim())) {
                None => offenders.push(format!("{}:1: has no {field}", file.path)),
                Some((number, value)) if value != *wanted => {
                    offenders.push(format!("{}:{number}: its {field} is {value}, not {wanted}", file.path))
                }
                Some(_) => {}
            }
        }
    }
    none("a rule lies in sql/rules/<tier>/<name>.sql", offenders);
}

#[test]
fn links_lead_somewhere() {
    let mut offenders = Vec::new();
    for page in ["README.md", "ARCHITECTURE.md", "docs/writing-rules.md", "docs/first-rule.md", "docs/operations.md"] {
        let Ok(text) = fs::read_to_string(root().join(page)) else {
            offenders.push(format!("{page}:1: is not there"));
            continue;
        };
        for (number, line) in (1..).zip(text.lines()) {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = target.split([' ', '#']).next().unwrap_or_default();
                let folder = root().join(page).parent().unwrap().to_owned();
                if !path.is_empty() && !path.contains(':') && !folder.join(path).exists() {
                    offenders.push(format!("{page}:{number}: {target}"));
                }
            }
        }
    }
    none("a link to a file that is not there", offenders);
}
