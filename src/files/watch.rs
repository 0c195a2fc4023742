//! Notices that rule files have changed, by looking at them: that works on every file system and mount.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{git, newest, read};
use crate::{config::Config, loops::rules::Provenance, rules::Files};

/// Files as they were when they were looked at: path, inode, and when the inode was changed last. The time of the last change
/// of the content may be that of a build or of an archive, the same for all versions.
type Seen = Vec<(PathBuf, u64, (i64, i64))>;

/// Watches the files of rules, reference data and tables: a Git checkout behind a symbolic link that is set anew, a mounted
/// ConfigMap, a plain folder that somebody edits.
#[derive(Debug, Clone, Default)]
pub struct Watched {
    /// As they were when they were handed on.
    known: Option<Seen>,
    /// As they were when they were looked at last.
    last: Option<Seen>,
}

impl Watched {
    /// Notes the files as they are: they are in use.
    pub fn in_use(config: &Config) -> Self {
        let seen = Some(Self::look(config));
        Self { known: seen.clone(), last: seen }
    }

    /// Takes the files for changed.
    pub fn look_again(&mut self) {
        self.known = None;
    }

    /// The files, where they have changed and were left alone for one look: whoever writes several is let finish.
    pub fn changed(&mut self, config: &Config) -> Option<Result<(Files, Provenance), String>> {
        let now = Some(Self::look(config));
        let settled = self.last == now;
        self.last.clone_from(&now);
        if !settled || self.known == now {
            return None;
        }
        self.known = now;
        let rules = std::slice::from_ref(&config.rules.path);
        let files = read(rules, &config.tables.path, &config.rules.reference).map_err(|error| error.to_string());
        Some(files.map(|files| {
            let provenance = provenance(config, &files);
            (files, provenance)
        }))
    }

    fn look(config: &Config) -> Seen {
        let mut seen = Vec::new();
        for path in [&config.rules.path, &config.rules.reference, &config.tables.path] {
            below(path, &mut seen);
        }
        seen.sort();
        seen
    }
}

/// What lies at or below a path, symbolic links followed.
fn below(path: &Path, seen: &mut Seen) {
    let Ok(found) = fs::metadata(path) else { return };
    if found.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with('.') {
                below(&entry.path(), seen);
            }
        }
    } else {
        seen.push((path.to_owned(), found.ino(), (found.ctime(), found.ctime_nsec())));
    }
}

/// Where the files of a configuration come from: a Git commit and its time, where they are as they are in it, else the time of
/// the newest of them.
pub fn provenance(config: &Config, files: &Files) -> Provenance {
    let folders: [&Path; 3] = [&config.rules.path, &config.rules.reference, &config.tables.path];
    let newest_ms = || newest(&folders);
    match git::checkout(files, &folders) {
        Some(git::Checkout { commit, time_ms, clean: true }) => Provenance { newest_ms: time_ms, commit: Some(commit) },
        Some(git::Checkout { commit, .. }) => {
            Provenance { newest_ms: newest_ms(), commit: Some(format!("{commit}-dirty")) }
        }
        None => Provenance { newest_ms: newest_ms(), commit: None },
    }
}
