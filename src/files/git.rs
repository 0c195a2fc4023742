//! The Git commit that rule files come from, and when it was made.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use gix::objs::tree::EntryMode;

use crate::rules::{Files, defaults, history};

/// What files of a rule set come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checkout {
    /// The commit's id.
    pub(super) commit: String,
    /// When it was made, in epoch milliseconds.
    pub(super) time_ms: i64,
    /// Whether the files are as they are in it: none is changed, added or missing.
    pub(super) clean: bool,
}

/// The commit that the files of a rule set are checked out at, where at least one of them is in it. `below` are the folders
/// in which no file may be missing. Files outside of the working tree, such as tables of an image, do not count.
pub(super) fn checkout(files: &Files, below: &[&Path]) -> Option<Checkout> {
    let first = files.rules.first().and_then(|rule| fs::canonicalize(&rule.path).ok())?;
    let repository = gix::discover(first.parent()?).ok()?;
    let root = fs::canonicalize(repository.workdir()?).ok()?;
    let commit = repository.head_commit().ok()?;
    let tree = commit.tree().ok()?;
    let inside = |path: &Path| Some(fs::canonicalize(path).ok()?.strip_prefix(&root).ok()?.to_owned());
    let blob = |path: &Path| Some(tree.lookup_entry_by_path(path).ok()??.object().ok()?.detach().data);

    let all = files.rules.iter().chain(&files.beside).chain(&files.tables).chain(&files.references);
    let (mut known, mut tracked, mut clean) = (BTreeSet::new(), false, true);
    for source in all {
        let Some(path) = inside(Path::new(&source.path)) else { continue };
        let committed = blob(&path);
        tracked |= committed.is_some();
        clean &= committed.is_some_and(|data| data == source.text.as_bytes());
        known.insert(path);
    }
    if !tracked {
        return None;
    }
    for folder in below.iter().filter_map(|path| inside(path)) {
        let own = if folder.as_os_str().is_empty() {
            Some(tree.clone())
        } else {
            tree.lookup_entry_by_path(&folder)
                .ok()
                .flatten()
                .and_then(|entry| entry.object().ok()?.try_into_tree().ok())
        };
        clean &= !own.is_some_and(|own| lacks(&own, &folder, &known));
    }
    let time_ms = commit.time().ok()?.seconds.saturating_mul(1_000);
    Some(Checkout { commit: commit.id.to_string(), time_ms, clean })
}

/// Whether a tree has a file of a rule set that is not known.
fn lacks(tree: &gix::Tree<'_>, folder: &Path, known: &BTreeSet<PathBuf>) -> bool {
    tree.iter().filter_map(Result::ok).any(|entry| {
        let name = entry.filename().to_string();
        let path = folder.join(&name);
        let mode: EntryMode = entry.mode();
        if name.starts_with('.') {
            false
        } else if mode.is_tree() {
            entry
                .object()
                .ok()
                .and_then(|object| object.try_into_tree().ok())
                .is_some_and(|own| lacks(&own, &path, known))
        } else {
            is_of_rules(&name) && !known.contains(&path)
        }
    })
}

/// Whether a file of this name belongs to a rule set, wherever it lies.
fn is_of_rules(name: &str) -> bool {
    let kind = Path::new(name).extension().unwrap_or_default();
    kind == "sql" || kind == "json" || name == defaults::FILE || name.ends_with(history::LEARNT)
}
