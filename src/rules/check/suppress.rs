//! Findings that somebody has looked at: `tierwatch:allow(code) reason` in a comment of the file.
//!
//! Only warnings can be allowed, and only with a reason; one that allows nothing is a finding itself, so that none is left
//! behind when the cause is gone.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use super::super::diagnostics::{Diagnostic, Severity, Source};

const MARK: &str = "tierwatch:allow(";

struct Allowed {
    code: String,
    reason: bool,
    span: Range<usize>,
}

/// What a file allows.
fn allowed(source: &Source) -> Vec<Allowed> {
    let one = |(at, _): (usize, &str)| {
        let rest = &source.text[at + MARK.len()..];
        let (code, after) = rest.split_once(')')?;
        let line = after.lines().next().unwrap_or_default().trim().trim_end_matches("*/").trim();
        let span = at..at + MARK.len() + code.len() + 1;
        Some(Allowed { code: code.trim().to_owned(), reason: line.len() > 3, span })
    };
    source.text.match_indices(MARK).filter_map(one).collect()
}

/// Takes out the warnings that their file allows, and says where that is done without a reason or for nothing.
pub fn suppress(problems: &mut Vec<Diagnostic>, files: &[Arc<Source>]) {
    for source in files {
        for allow in allowed(source) {
            let matches = |problem: &Diagnostic| {
                problem.severity == Severity::Warning
                    && problem.code == allow.code
                    && problem.source.path == source.path
            };
            let is_error = |problem: &&Diagnostic| {
                problem.severity == Severity::Error && problem.code == allow.code && problem.source.path == source.path
            };
            if problems.iter().any(|problem| is_error(&problem)) {
                // The error says it all: errors cannot be allowed.
                continue;
            }
            let before = problems.len();
            if allow.reason {
                problems.retain(|problem| !matches(problem));
            }
            if !allow.reason {
                let message = format!("`{}` is allowed without a reason", allow.code);
                let hint = format!("{MARK}{}) and why it is right here", allow.code);
                problems.push(Diagnostic::warning("allow-reason", source, allow.span, message, hint));
            } else if problems.len() == before {
                let own = problems.iter().filter(|problem| problem.source.path == source.path);
                let codes: BTreeSet<&str> =
                    own.map(|problem| problem.code).filter(|code| *code != allow.code).collect();
                let near = super::super::diagnostics::did_you_mean(&allow.code, codes);
                let hint = if near.is_empty() { "remove it".to_owned() } else { near };
                let message = format!("there is no warning `{}` here to allow", allow.code);
                problems.push(Diagnostic::warning("allow-unused", source, allow.span, message, hint));
            }
        }
    }
}
