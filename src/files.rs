//! Rule files, table schemas and reference tables as they lie on disk.

mod git;
pub mod watch;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::rules::{Files, defaults, diagnostics::Source, history, sql::reads};

/// Why files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A path that is not there or not readable.
    #[error("cannot read {path}: {error}; {hint}")]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// A folder without a file of the kind.
    #[error("there is no .{extension} file in {path}; {hint}")]
    Empty {
        /// The folder.
        path: PathBuf,
        /// The kind of file.
        extension: &'static str,
        /// What to do.
        hint: &'static str,
    },
}

/// Reads all files of a rule set: rules from any number of files and folders, of which each must hold some.
pub fn read(rules: &[PathBuf], tables: &Path, references: &Path) -> Result<Files, FilesError> {
    let files = read_some(rules, tables, references)?;
    for path in rules {
        if sources(path, &["sql"], NAME_RULES)?.is_empty() {
            return Err(FilesError::Empty { path: path.clone(), extension: "sql", hint: NAME_RULES });
        }
    }
    Ok(files)
}

const NAME_RULES: &str = "name a rule below rules.path, a rule file or a folder of them";

/// Adds the rules whose readings are read but that are missing, where `pack` has them.
pub fn complete(files: &mut Files, pack: &Files) {
    let stem = |source: &Source| {
        Path::new(&source.path).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
    };
    loop {
        let names: Vec<String> = files.rules.iter().map(|rule| stem(rule)).collect();
        let missing = files.rules.iter().flat_map(|rule| reads(&rule.text)).find(|name| !names.contains(name));
        let Some(found) = missing.and_then(|name| pack.rules.iter().find(|rule| stem(rule) == name)) else { break };
        files.rules.push(Arc::clone(found));
        let beside = pack.beside.iter().filter(|source| !files.beside.contains(source)).cloned().collect::<Vec<_>>();
        files.beside.extend(beside);
    }
}

/// The files whose names end so, at or below a path, in the order of their names.
pub fn with_ending(path: &Path, ending: &str) -> Result<Vec<Arc<Source>>, FilesError> {
    let kind = ending.rsplit('.').next().unwrap_or(ending);
    let mut found = sources(path, &[kind], "name a file or a folder")?;
    found.retain(|source| source.path.ends_with(ending));
    Ok(found)
}

/// Reads all files of a rule set; there may be no rules.
pub fn read_some(rules: &[PathBuf], tables: &Path, references: &Path) -> Result<Files, FilesError> {
    let mut files = Files::default();
    for path in rules {
        for source in sources(path, &["sql"], NAME_RULES)? {
            if !files.rules.contains(&source) {
                files.beside.extend(beside(&source, &files.beside)?);
                files.rules.push(source);
            }
        }
    }
    files.tables = sources(tables, &["json"], "set tables.path to the folder of table schemas")?;
    if files.tables.is_empty() {
        return Err(FilesError::Empty {
            path: tables.to_owned(),
            extension: "json",
            hint: "set tables.path to the folder of table schemas",
        });
    }
    if references.exists() {
        files.references =
            sources(references, &["json", "csv"], "set rules.reference to the folder of reference tables")?;
    }
    Ok(files)
}

/// What lies beside a rule and is not known yet: the defaults of the folders above it, and what it has learnt.
pub fn beside(rule: &Source, known: &[Arc<Source>]) -> Result<Vec<Arc<Source>>, FilesError> {
    let path = Path::new(&rule.path);
    let defaults = path.ancestors().skip(1).map(|folder| folder.join(defaults::FILE));
    let learnt = PathBuf::from(format!("{}{}", rule.path.trim_end_matches(".sql"), history::LEARNT));
    let mut found = Vec::new();
    for path in defaults.chain([learnt]).filter(|path| path.is_file()) {
        if known.iter().all(|other| Path::new(&other.path) != path) {
            found.extend(sources(&path, &[], "look at its permissions")?);
        }
    }
    Ok(found)
}

/// The files of the given kinds at or below a path, in the order of their names.
fn sources(path: &Path, extensions: &[&str], hint: &'static str) -> Result<Vec<Arc<Source>>, FilesError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| FilesError::Read { path, error, hint }
    };
    if path.is_file() {
        let text = fs::read_to_string(path).map_err(failed(path))?;
        return Ok(vec![Arc::new(Source { path: path.display().to_string(), text })]);
    }
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path).map_err(failed(path))? {
        entries.push(entry.map_err(failed(path))?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let wanted = entry.extension().is_some_and(|kind| extensions.iter().any(|extension| kind == *extension));
        if !hidden && (entry.is_dir() || wanted) {
            found.extend(sources(&entry, extensions, hint)?);
        }
    }
    Ok(found)
}

/// When the newest file at or below the paths was written, in epoch milliseconds; 0 where that is not known.
pub fn newest(paths: &[&Path]) -> i64 {
    let time = |path: &Path| -> Option<i64> {
        let since = fs::metadata(path).ok()?.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok()
    };
    let below = |path: &Path| -> i64 {
        let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.map(|entry| newest(&[&entry])).max().unwrap_or_default()
    };
    paths
        .iter()
        .map(|path| if path.is_dir() { below(path) } else { time(path).unwrap_or_default() })
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
