//! What is shown: the settings in force, problems, and values without those that may be secrets.

use std::fmt;

use ::config::ValueKind;
use serde::Serialize;

use super::{
    keys::{in_section, property},
    origin::Origin,
    types::Config,
};

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted key it is about, or the file if that is no good as a whole.
    pub key: String,
    /// What is wrong, with the value unless that may be a secret, and what is allowed.
    pub message: String,
    /// Where the value was given.
    pub origin: Origin,
    /// What to write instead.
    pub hint: String,
}

/// All that is wrong with the configuration, at least one thing. `Display` is a numbered list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 problem in the configuration:")?,
            count => write!(f, "{count} problems in the configuration:")?,
        }
        for (number, problem) in (1..).zip(&self.0) {
            write!(f, "\n{number:3}. {}: {}", problem.key, problem.message)?;
            write!(f, "\n     given by: {}", problem.origin)?;
            write!(f, "\n     to mend it: {}", problem.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// One key with the value in force and where that was given.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// The value; `***` for a secret.
    pub value: Shown,
    /// Where it was given, in words.
    pub origin: String,
}

/// A value as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Shown {
    /// A whole number.
    Number(i64),
    /// Anything else.
    Text(String),
}

impl Shown {
    pub(super) fn toml(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => quote(text),
        }
    }
}

impl Config {
    /// Every key with the value in force and its origin, in the order of [`DEFAULTS`](super::DEFAULTS).
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// Everything in force as TOML, each line with a comment that tells where the value was given.
    pub fn describe(&self) -> String {
        let mut toml = String::new();
        let mut current = "";
        for setting in &self.settings {
            let (section, name) = in_section(&setting.key);
            if section != current {
                let gap = if current.is_empty() { "" } else { "\n" };
                toml.push_str(&format!("{gap}[{section}]\n"));
                current = section;
            }
            let name = match name.strip_prefix("properties.") {
                Some(property) => format!("properties.{}", quote(property)),
                None => name.to_owned(),
            };
            let origin = setting.origin.replace(char::is_control, " ");
            toml.push_str(&format!("{name} = {}  # {origin}\n", setting.value.toml()));
        }
        toml
    }
}

/// Whether a value must not be shown.
pub(super) fn hides(key: &str, kind: &ValueKind) -> bool {
    let text = text_of(kind);
    let hidden = match (key, property(key)) {
        ("kafka.sasl_password" | "clickhouse.password", _) => true,
        // Refused, but perhaps for the password in it.
        ("kafka.brokers" | "clickhouse.url", _) => text.contains(['@', '?']),
        (_, Some(name)) => {
            ["password", "secret", "token", ".pem", "oauthbearer.config"].iter().any(|part| name.contains(part))
        }
        _ => false,
    };
    hidden && !text.is_empty()
}

/// A value without quotes.
pub(super) fn text_of(kind: &ValueKind) -> String {
    match kind {
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| text_of(&item.kind)).collect();
            items.join(",")
        }
        ValueKind::Table(_) => String::new(),
        kind => kind.to_string(),
    }
}

/// A value as TOML has it, or a word for what it is.
pub(super) fn literal(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => quote(text),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| literal(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(_) => "a table".to_owned(),
        kind => kind.to_string(),
    }
}

/// A TOML string.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
