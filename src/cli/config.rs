//! `tierwatch config`: what is in force, and where each value comes from.

use std::process::ExitCode;

use clap::Args;

use super::{Format, Outcome, print};
use crate::config::Config;

/// What `config` was asked for.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Show {
    pub(super) fn run(self, config: &Config) -> Outcome {
        match self.format {
            Format::Text => print(config.describe().trim_end())?,
            Format::Json => {
                for setting in config.settings() {
                    print(&serde_json::to_string(setting)?)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
