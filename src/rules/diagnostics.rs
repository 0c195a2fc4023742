//! Findings about files that people write: what is wrong, where, and what to write instead.
//!
//! A finding is data; how it is shown (with the source line and carets, or as JSON) is decided at the end. The
//! showing is rustc's own, by `annotate-snippets`.

use std::{ops::Range, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level as Style, Renderer, Snippet};
use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works, but probably not as meant.
    Warning,
    /// Cannot be run.
    Error,
}

/// One file as it was read: its path as shown to people, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it came from.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl Source {
    /// The place of the first word from a byte on: where a statement begins.
    pub fn first_word(&self, from: usize) -> Range<usize> {
        let text = self.text.get(from..).unwrap_or_default();
        word_at(&self.text, from + (text.len() - text.trim_start().len()))
    }

    /// The place between two lines and columns, both from 1; a word where they are the same.
    pub fn between(&self, start: (u64, u64), end: (u64, u64)) -> Range<usize> {
        let at = |(line, column): (u64, u64)| {
            offset(&self.text, usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1))
        };
        let (start, end) = (at(start), at(end));
        if start < end { start..end } else { word_at(&self.text, start) }
    }
}

/// One finding in one file.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// A short stable name for the kind of finding, such as `unknown-column`.
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// What to do about it; empty where the message says it all.
    pub hint: String,
    /// The file.
    pub source: Arc<Source>,
    /// Which bytes of the file; the whole file where it is empty.
    pub span: Range<usize>,
}

impl Diagnostic {
    /// A finding that keeps the file from running.
    pub fn error(
        code: &'static str,
        source: &Arc<Source>,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let span = clamp(&source.text, span);
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            hint: hint.into(),
            source: Arc::clone(source),
            span,
        }
    }

    /// A finding that leaves the file running.
    pub fn warning(
        code: &'static str,
        source: &Arc<Source>,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, source, span, message, hint) }
    }

    /// Line and column of the finding's first character, both from 1, columns in characters.
    pub fn position(&self) -> (usize, usize) {
        position(&self.source.text, self.span.start)
    }

    /// The finding with its source line and carets, as rustc shows it.
    pub fn render(&self, color: bool) -> String {
        let style = match self.severity {
            Severity::Error => Style::ERROR,
            Severity::Warning => Style::WARNING,
        };
        let snippet = Snippet::source(self.source.text.as_str())
            .path(self.source.path.as_str())
            .annotation(AnnotationKind::Primary.span(self.span.clone()));
        let mut group: Group<'_> = style.primary_title(self.message.as_str()).id(self.code).element(snippet);
        if !self.hint.is_empty() {
            group = group.element(Style::HELP.message(self.hint.as_str()));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group]).to_string()
    }

    /// The finding as JSON, with the same positions.
    pub fn to_json(&self) -> serde_json::Value {
        let (line, column) = self.position();
        let (end_line, end_column) = position(&self.source.text, self.span.end);
        serde_json::json!({
            "severity": self.severity, "code": self.code, "file": self.source.path,
            "line": line, "column": column, "end_line": end_line, "end_column": end_column,
            "message": self.message, "hint": self.hint,
        })
    }
}

/// Line and column, both from 1, of the byte at `offset`.
pub fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The byte offset of a line and column, both from 1; the end of the text where they lie past it.
pub fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    start + rest.chars().take(column.saturating_sub(1)).take_while(|c| *c != '\n').map(char::len_utf8).sum::<usize>()
}

/// The span of the word that starts at a byte offset, for carets under a whole identifier.
pub fn word_at(text: &str, start: usize) -> Range<usize> {
    let rest = text.get(start..).unwrap_or_default();
    let length: usize = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
    start..start + length.max(rest.chars().next().map_or(0, char::len_utf8))
}

/// The candidate nearest to `word`, for "did you mean": at most a third of its letters differ.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = word.chars().count().div_ceil(3);
    candidates
        .into_iter()
        .map(|candidate| (strsim::levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// " Did you mean `x`?" or nothing.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|found| format!("did you mean `{found}`?")).unwrap_or_default()
}

fn clamp(text: &str, span: Range<usize>) -> Range<usize> {
    let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = floor(span.start);
    start..floor(span.end.max(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_offsets_are_inverse() {
        let text = "one\nzwölf x\n";
        for at in [0, 2, 4, 8, 11] {
            let (line, column) = position(text, at);
            assert_eq!(offset(text, line, column), at, "{line}:{column}");
        }
        assert_eq!(offset(text, 9, 9), text.len());
    }

    #[test]
    fn a_finding_shows_its_line_and_its_hint() {
        let source = Arc::new(Source { path: "sql/rules/x.sql".into(), text: "SELECT valeu\nFROM t\n".into() });
        let shown = Diagnostic::error("unknown-column", &source, 7..12, "no column `valeu`", "did you mean `value`?")
            .render(false);
        for part in ["sql/rules/x.sql:1:8", "SELECT valeu", "^^^^^", "did you mean `value`?"] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }
}
