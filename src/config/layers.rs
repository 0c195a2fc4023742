//! Gathering: what was typed in each layer, and where, with the unknown keys and those given twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::mem::discriminant;
use std::path::Path;

use ::config::{File, FileFormat, Source as _, ValueKind};

use super::{
    keys::{in_section, nearest, property},
    origin::{FILE_VARIABLE, Origin, Sources, variable_key},
    show::{Problem, Setting},
};

/// What was typed, and what became of it.
#[derive(Default)]
pub(super) struct Raw {
    /// Every known key with its default.
    pub(super) known: BTreeMap<String, ValueKind>,
    /// Every known key with what was typed in the highest layer that gives it.
    pub(super) typed: BTreeMap<String, (ValueKind, Origin)>,
    /// What was accepted.
    pub(super) settings: Vec<Setting>,
    pub(super) problems: Vec<Problem>,
}

/// Gathering.
impl Raw {
    pub(super) fn add_file(&mut self, sources: &Sources, default_file: &Path) {
        let variable = sources.environment.iter().find(|(name, path)| name == FILE_VARIABLE && !path.is_empty());
        let (path, named_by) = match (&sources.file, variable) {
            (Some(path), _) => (path.as_path(), Some(Origin::Flag("--config".to_owned()))),
            (None, Some((name, path))) => (Path::new(path), Some(Origin::Variable(name.clone()))),
            (None, None) => (default_file, None),
        };
        let origin = Origin::File(path.to_owned());
        match fs::read_to_string(path) {
            Ok(text) => {
                for (key, kind) in self.parse(&text, &origin) {
                    self.add(&key, kind, origin.clone());
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound && named_by.is_none() => {}
            Err(error) => {
                let hint = "name a file that can be read, or none to run on the defaults";
                let key = origin.to_string();
                self.wrong(&key, named_by.unwrap_or(origin), format!("cannot be read: {error}"), hint);
            }
        }
    }

    pub(super) fn add_environment(&mut self, environment: &[(String, String)]) {
        for (name, value) in environment {
            let Some(key) = variable_key(name) else { continue };
            let origin = Origin::Variable(name.clone());
            if value.contains(char::REPLACEMENT_CHARACTER) {
                self.wrong(&key, origin, "is not valid Unicode", "write it in UTF-8");
            } else {
                self.add(&key, self.untyped(&key, value), origin);
            }
        }
    }

    /// The keys of a TOML file, dotted and sorted.
    pub(super) fn parse(&mut self, text: &str, origin: &Origin) -> Vec<(String, ValueKind)> {
        let mut pairs = Vec::new();
        match File::from_str(text, FileFormat::Toml).collect() {
            Ok(table) => flatten("", ValueKind::Table(table), &mut pairs),
            Err(error) => {
                let message = format!("is not TOML: {}", where_and_why(&error.to_string()));
                let hint = "mend that place: numbers stand bare, all other values in quotes";
                self.wrong(&origin.to_string(), origin.clone(), message, hint);
            }
        }
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        pairs
    }

    /// Variables and flags are text; where the default is a number, so is what looks like one.
    pub(super) fn untyped(&self, key: &str, value: &str) -> ValueKind {
        let number = match self.known.get(key) {
            Some(ValueKind::I64(_)) => value.trim().replace('_', "").parse().ok(),
            _ => None,
        };
        number.map_or_else(|| ValueKind::String(value.to_owned()), ValueKind::I64)
    }

    pub(super) fn add(&mut self, key: &str, kind: ValueKind, origin: Origin) {
        let is_property = property(key).is_some_and(|name| !name.is_empty());
        if is_property || self.known.contains_key(key) {
            // Spelt in capitals and not, or with dots and as a table.
            let (_, twin) = self.typed(key);
            if discriminant(twin) == discriminant(&origin) && !matches!(origin, Origin::Flag(_)) {
                let message = format!("is given twice, also by {twin}");
                self.wrong(key, origin.clone(), message, format!("keep {} alone", origin.spell(key)));
            }
            self.typed.insert(key.to_owned(), (kind, origin));
        } else if self.is_section(key) {
            if !matches!(kind, ValueKind::Table(_)) {
                let hint = self.keys_of(key);
                self.wrong(key, origin, "is a section, and has no value itself", hint);
            }
        } else {
            let hint = match nearest(key, self.known.keys().map(String::as_str)) {
                Some(near) => format!("did you mean {}?", origin.spell(near)),
                None => self.keys_of(in_section(key).0),
            };
            self.wrong(key, origin, "is not a known key", hint);
        }
    }

    fn is_section(&self, name: &str) -> bool {
        self.known.keys().any(|known| in_section(known).0 == name)
    }

    /// The keys of a section, or which sections there are if it is none.
    fn keys_of(&self, section: &str) -> String {
        let known = self.known.keys().map(|key| in_section(key));
        if self.is_section(section) {
            let keys: Vec<&str> = known.filter(|known| known.0 == section).map(|known| known.1).collect();
            format!("[{section}] has {}", keys.join(", "))
        } else {
            let sections: BTreeSet<&str> = known.map(|known| known.0).collect();
            format!("the sections are {}", Vec::from_iter(sections).join(", "))
        }
    }

    /// The value in force and where it was given.
    pub(super) fn typed(&self, key: &str) -> (&ValueKind, &Origin) {
        self.typed.get(key).map_or((&ValueKind::Nil, &Origin::Defaults), |(kind, origin)| (kind, origin))
    }

    pub(super) fn wrong(&mut self, key: &str, origin: Origin, message: impl Into<String>, hint: impl Into<String>) {
        let (message, hint) = (message.into(), hint.into());
        self.problems.push(Problem { key: key.to_owned(), message, origin, hint });
    }
}

/// Tables inside tables become dotted keys. An empty table is kept, as a key of its own.
fn flatten(path: &str, kind: ValueKind, pairs: &mut Vec<(String, ValueKind)>) {
    match kind {
        ValueKind::Table(table) if !table.is_empty() =>
        {
            #[expect(clippy::iter_over_hash_type, reason = "pairs are sorted by key before anything is made of them")]
            for (name, value) in table {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), value.kind, pairs);
            }
        }
        _ if path.is_empty() => {}
        kind => pairs.push((path.to_owned(), kind)),
    }
}

/// The parser also quotes the line it stumbled on, which may hold a secret: leave that out.
fn where_and_why(error: &str) -> String {
    let numbers = |c: char| c.is_ascii_digit() || c == ' ';
    let lines = error.lines().filter(|line| !line.trim_start_matches(numbers).starts_with('|'));
    lines.collect::<Vec<_>>().join(": ")
}
