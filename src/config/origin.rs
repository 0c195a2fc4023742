//! Where values come from: the sources of the layers, and which of them gave a value.

use std::fmt;
use std::path::PathBuf;

use super::{keys::in_section, show::Shown};

/// The file read when none is named, if it is there. Relative to the working directory.
pub const DEFAULT_FILE: &str = "tierwatch.toml";

/// The environment variable that names the file when no flag does.
pub const FILE_VARIABLE: &str = "TIERWATCH_CONFIG";

/// What variables that set a key start with. The double underscore is on purpose: Kubernetes makes up variables like
/// `TIERWATCH_PORT` for a service of that name, and they must not be refused.
const VARIABLE_PREFIX: &str = "TIERWATCH__";

/// Where the layers above the defaults come from. No `Debug`: the values may be secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file named by `--config`; it must exist. Without one, [`FILE_VARIABLE`] in `environment` names a file that
    /// must exist, and without that [`DEFAULT_FILE`] is read if it exists.
    pub file: Option<PathBuf>,
    /// Names and values of environment variables; those that are not Tierwatch's are ignored.
    pub environment: Vec<(String, String)>,
    /// Dotted keys and values of `--set`, in the order given; the last one wins.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The sources of this process. Nothing else in the program reads the environment.
    #[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
    pub fn from_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        // Invalid Unicode turns into U+FFFD here, and is refused by `load` where it matters.
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .filter(|(name, _)| name == FILE_VARIABLE || variable_key(name).is_some())
            .collect();
        Self { file, environment, flags }
    }
}

/// Where a value was given. `Display` says it in a few words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the default holds.
    Defaults,
    /// This file.
    File(PathBuf),
    /// The environment variable of this name.
    Variable(String),
    /// This flag, without its value.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("defaults"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

impl Origin {
    /// How `key` is spelt in this layer.
    pub(super) fn spell(&self, key: &str) -> String {
        match self {
            Self::Defaults | Self::File(_) => key.to_owned(),
            Self::Variable(_) => format!("{VARIABLE_PREFIX}{}", key.to_uppercase().replace('.', "__")),
            Self::Flag(_) => format!("--set {key}"),
        }
    }

    /// How `key` is given `value` in this layer.
    pub(super) fn assign(&self, key: &str, value: &Shown) -> String {
        match self {
            Self::Defaults | Self::File(_) => {
                let (section, name) = in_section(key);
                format!("{name} = {} in [{section}]", value.toml())
            }
            Self::Variable(_) | Self::Flag(_) => match value {
                Shown::Number(number) => format!("{}={number}", self.spell(key)),
                Shown::Text(text) => format!("{}={text}", self.spell(key)),
            },
        }
    }
}

/// The key that an environment variable sets, if it is one of Tierwatch's.
pub(super) fn variable_key(name: &str) -> Option<String> {
    let (prefix, key) = name.split_at_checked(VARIABLE_PREFIX.len())?;
    let ours = prefix.eq_ignore_ascii_case(VARIABLE_PREFIX);
    ours.then(|| key.to_lowercase().replace("__", "."))
}
