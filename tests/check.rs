//! Broken rule files as data: each `tests/check/<name>.sql`, and beside it what `tierwatch check` says of it.
//!
//! An `.expected` file holds a line for each finding: `severity code line:column message | hint`. Where a change is
//! meant, `UPDATE_EXPECTED=1 cargo test check` writes them anew; the difference is then read like any other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What a run of the program left behind.
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program at the root of the repository.
pub(crate) fn tierwatch<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tierwatch"));
    let output = command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The files of a folder of `tests` with that extension, in the order of their names; there must be some.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let place = Path::new("tests").join(folder);
    let entries = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|kind| kind == extension)).collect();
    assert!(!found.is_empty(), "there is no .{extension} file in {}", place.display());
    found.sort();
    found
}

/// Compares a text with the file that holds what is expected, or writes it there with `UPDATE_EXPECTED=1`; answers
/// with how they differ.
#[allow(clippy::disallowed_methods, reason = "whether to write expectations anew is no setting of Tierwatch")]
pub(crate) fn compare(expected: &Path, actual: &str) -> Option<String> {
    if std::env::var_os("UPDATE_EXPECTED").is_some_and(|set| set == "1") {
        fs::write(expected, actual).unwrap();
        return None;
    }
    match fs::read_to_string(expected) {
        Err(error) => Some(format!("{}: {error}; what it should hold is\n{actual}", expected.display())),
        Ok(text) if text == actual => None,
        Ok(text) => Some(format!("{} (-), and what came (+):\n{}", expected.display(), difference(&text, actual))),
    }
}

/// Two texts line by line, by their longest common subsequence: `-` is in the first alone, `+` in the second.
fn difference(first: &str, second: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (first.lines().collect(), second.lines().collect());
    let mut common = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            let longer = common[i + 1][j].max(common[i][j + 1]);
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { longer };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out += &format!("  {}\n", a[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            out += &format!("- {}\n", a[i]);
            i += 1;
        } else {
            out += &format!("+ {}\n", b[j]);
            j += 1;
        }
    }
    if first.ends_with('\n') == second.ends_with('\n') { out } else { out + "(one of them ends without a newline)\n" }
}

/// Fails with all complaints, where there are any.
pub(crate) fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} of the cases differ\n\n{}", complaints.len(), complaints.join("\n"));
}

/// The findings that `check --format json` printed, by file, a line each.
fn findings(stdout: &str) -> BTreeMap<PathBuf, String> {
    let mut by_file: BTreeMap<PathBuf, String> = BTreeMap::new();
    for line in stdout.lines() {
        let finding: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| finding[name].as_str().unwrap().replace('\n', "\\n");
        let number = |name: &str| finding[name].as_u64().unwrap();
        *by_file.entry(text("file").into()).or_default() += &format!(
            "{} {} {}:{} {} | {}\n",
            text("severity"),
            text("code"),
            number("line"),
            number("column"),
            text("message"),
            text("hint"),
        );
    }
    by_file
}

fn check(path: &Path) -> Answer {
    tierwatch([OsStr::new("check"), path.as_os_str(), OsStr::new("--format"), OsStr::new("json")])
}

#[test]
fn each_mistake_is_told_at_its_place_with_a_way_to_mend_it() {
    let mut complaints = Vec::new();
    for path in files("check", "sql") {
        let Answer { code, stdout, stderr } = check(&path);
        let said = findings(&stdout).remove(&path).unwrap_or_default();
        let broken = said.lines().any(|line| line.starts_with("error "));
        if said.is_empty() || code != Some(i32::from(broken)) || !stderr.is_empty() {
            complaints.push(format!("{}: exit code {code:?}, and said:\n{said}{stderr}", path.display()));
        }
        complaints.extend(compare(&path.with_extension("expected"), &said));
    }
    for path in files("check", "expected") {
        if !path.with_extension("sql").exists() {
            complaints.push(format!("{} belongs to no case", path.display()));
        }
    }
    none(&complaints);
}

#[test]
fn one_run_reports_every_mistake_of_every_file() {
    let paths = files("check", "sql");
    let alone: BTreeMap<PathBuf, String> = paths.iter().flat_map(|path| findings(&check(path).stdout)).collect();
    let together = check(paths[0].parent().unwrap());
    assert_eq!(together.code, Some(1), "{}", together.stderr);
    assert_eq!(findings(&together.stdout), alone);
    assert_eq!(alone.len(), paths.len());
}

#[test]
fn shipped_rules_have_nothing_to_mend() {
    let tiers = fs::read_dir("sql/rules").unwrap().map(|tier| tier.unwrap().path());
    let rules = tiers.flat_map(|tier| fs::read_dir(tier).unwrap()).map(|file| file.unwrap().path());
    let count = rules.filter(|path| path.extension().is_some_and(|kind| kind == "sql")).count();
    let Answer { code, stdout, stderr } = tierwatch(["check"]);
    assert_eq!(stderr, format!("{count} rule files checked: 0 errors, 0 warnings\n"));
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
}

#[test]
fn wrong_use_is_no_finding() {
    for args in [&["nonsense"][..], &["check", "--nonsense"], &["check", "--format", "nonsense"], &[]] {
        let Answer { code, stdout, stderr } = tierwatch(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "tierwatch {args:?} said:\n{stderr}");
        assert!(!stderr.is_empty(), "tierwatch {args:?} said nothing");
    }
}
