//! What an owner of a partition leaves behind, so that the next one knows what it died of.
//!
//! Most failures of a rule are errors, and fence it off. One that takes the process with it (the stack, the memory of the
//! machine) would take one owner after the other. So whoever takes a partition over notes where it stands. Where two owners before came to
//! nothing (one may only have handed it on), the new one is *wary*: before each evaluation it notes outside of any
//! transaction what it is about to evaluate, until something is published. A window over which two owners have died
//! fences its rule off.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Judge, journal::StateRecord};
use crate::{panes::Millis, rules::Rule};

/// The key of the note in the state topic.
pub const KEY: &str = "breadcrumb";
/// How many owners must have died over a window.
const DEATHS: u32 = 2;

/// The note of the last owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breadcrumb {
    /// Its process.
    pub owner: String,
    /// The position up to which the partition was published when it took over.
    pub position: i64,
    /// How many owners in a row took over there, this one included.
    pub owners: u32,
    /// What it was about to evaluate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<Suspect>,
    /// What enough owners died of, until it is fenced off in what is published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proven: Vec<Suspect>,
}

/// An evaluation that may take the process with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    /// The rule.
    pub rule: String,
    /// Its version.
    pub version: String,
    /// The end of the window.
    pub end: Millis,
    /// How many owners have begun with it.
    pub times: u32,
}

impl Suspect {
    fn is(&self, rule: &Rule, end: Millis) -> bool {
        self.rule == rule.header.name && self.version == rule.version && self.end == end
    }
}

impl Breadcrumb {
    /// The note of an owner who takes over a partition published up to `position`, where it found this one.
    pub fn follow(before: Option<Self>, owner: &str, position: i64) -> Self {
        let owner = owner.to_owned();
        match before {
            Some(before) if before.position == position => {
                // The same process after a transaction that failed has not died of anything.
                let owners = before.owners.saturating_add(u32::from(before.owner != owner));
                Self { owner, owners, ..before }
            }
            _ => Self { owner, position, owners: 1, suspect: None, proven: Vec::new() },
        }
    }

    /// True where two owners before came to nothing; one may only have handed it on.
    pub fn is_wary(&self) -> bool {
        self.owners > 2
    }

    /// As it stands in the state topic.
    pub fn record(&self) -> StateRecord {
        (KEY.to_owned(), Some(serde_json::to_vec(self).unwrap_or_default()))
    }

    /// From the state topic; `None` where it cannot be read.
    pub fn of_record(value: Option<&[u8]>) -> Option<Self> {
        serde_json::from_slice(value?).ok()
    }
}

/// What writes a note at once, outside of any transaction; false where it could not be written.
pub type LastWords = Box<dyn FnMut(StateRecord) -> bool>;

/// What makes the evaluations of a partition careful: nothing, or what was found of the owners before.
#[derive(Default)]
pub(super) struct Care {
    found: Breadcrumb,
    /// Where the next note goes to, while this owner is wary.
    words: Option<LastWords>,
    /// True while the last note may name an evaluation.
    named: bool,
    /// True where a note could not be written: no more are.
    mute: bool,
    /// True where something was not evaluated because owners died of it, and that is not published.
    refused: bool,
}

impl fmt::Debug for Care {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Care").field("found", &self.found).field("wary", &self.words.is_some()).finish()
    }
}

impl Care {
    /// With what was found.
    pub(super) fn of(found: Breadcrumb) -> Self {
        Self { found, words: None, named: false, mute: false, refused: false }
    }

    /// What was found, as this owner notes it.
    pub(super) fn found(&self) -> &Breadcrumb {
        &self.found
    }

    /// A window is about to be evaluated. The error says why it must not be.
    pub(super) fn before(&mut self, rule: &Rule, end: Millis) -> Result<(), String> {
        let suspects = self.found.suspect.iter().chain(&self.found.proven);
        let suspect = suspects.filter(|suspect| suspect.is(rule, end)).max_by_key(|suspect| suspect.times).cloned();
        let known = suspect.as_ref().map_or(0, |suspect| suspect.times);
        if let Some(suspect) = suspect.filter(|suspect| suspect.times >= DEATHS) {
            // The notes that follow say so, too: the next owner must not find it out anew.
            if !self.found.proven.contains(&suspect) {
                self.found.proven.push(suspect);
            }
            self.refused = true;
            return Err(format!(
                "{known} processes in a row ended while they evaluated one window of it (out of memory, or killed by the \
                 engine); make it cheaper, or group by fewer values"
            ));
        }
        // Who cannot write would wait for each: a partition must not stand still for the sake of a note.
        if let Some(words) = self.words.as_mut().filter(|_| !self.mute) {
            let (rule, version) = (rule.header.name.clone(), rule.version.clone());
            let suspect = Some(Suspect { rule, version, end, times: known + 1 });
            self.named = true;
            self.mute |= !words(Breadcrumb { suspect, ..self.found.clone() }.record());
        }
        Ok(())
    }

    /// All that was evaluated was survived.
    pub(super) fn after(&mut self) {
        if let (Some(words), true) = (&mut self.words, std::mem::take(&mut self.named)) {
            // Also of a note of which it is not known whether it was written.
            words(Breadcrumb { suspect: None, ..self.found.clone() }.record());
        }
        if self.mute {
            self.words = None;
        }
    }
}

impl Judge {
    /// Takes what the owner before left behind.
    pub fn set_breadcrumb(&mut self, found: Breadcrumb) {
        self.care = Care::of(found);
    }

    /// What the owner before left behind, as this one notes it.
    pub fn breadcrumb(&self) -> &Breadcrumb {
        self.care.found()
    }

    /// From now on each evaluation is noted before.
    pub fn note_to(&mut self, words: LastWords) {
        self.care.words = Some(words);
        self.care.mute = false;
    }

    /// Up to here it is published: where that is further than before, nothing is noted any more.
    pub fn came_to(&mut self, position: i64) {
        if position > self.care.found.position {
            self.care.words = None;
            self.care.refused = false;
        }
    }

    /// True where a rule was fenced off since owners died of it, and that is not published.
    pub fn has_refused(&self) -> bool {
        self.care.refused
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc, sync::Arc};

    use super::*;
    use crate::rules::{Files, RuleSet, Settings, diagnostics::Source};

    #[test]
    fn who_stands_where_another_process_stood_is_wary() {
        let first = Breadcrumb::follow(None, "a/1", 7);
        assert!(!first.is_wary());
        let again = Breadcrumb::follow(Some(first.clone()), "a/1", 7);
        assert!(!again.is_wary(), "the same process");
        let second = Breadcrumb::follow(Some(again), "b/1", 7);
        assert!(!second.is_wary(), "it may have been handed on");
        assert!(Breadcrumb::follow(Some(second.clone()), "c/1", 7).is_wary());
        assert!(!Breadcrumb::follow(Some(second), "c/1", 8).is_wary(), "b came further");
        assert_eq!(Breadcrumb::of_record(first.record().1.as_deref()), Some(first));
    }

    #[test]
    fn a_note_that_may_not_have_been_written_is_cleared_once_and_no_more_are() {
        let notes = Rc::new(RefCell::new(Vec::new()));
        let mut care = Care::of(Breadcrumb::follow(None, "a/1", 7));
        let heard = Rc::clone(&notes);
        care.words = Some(Box::new(move |(_, note)| {
            heard.borrow_mut().push(Breadcrumb::of_record(note.as_deref()).is_some_and(|note| note.suspect.is_some()));
            false
        }));
        let source = |path: &str, text: &str| vec![Arc::new(Source { path: path.into(), text: text.into() })];
        let text = "/*\nname: all\ntier: business\nowner: tests\nlevels: {warning: value > 1}\n*/\nSELECT count(*) AS value \
                    FROM hop(requests, event_time, INTERVAL '5 seconds', INTERVAL '10 seconds')";
        let tables = source("requests.json", include_str!("../../schemas/tables/requests.json"));
        let files = Files { rules: source("all.sql", text), tables, ..Files::default() };
        let (set, _) = RuleSet::compile(files, Settings { idle_after_ms: None });
        let rule = set.rule("all").unwrap();
        for end in [1, 2] {
            care.before(rule, end).unwrap();
            care.before(rule, end + 10).unwrap();
            care.after();
        }
        assert_eq!(*notes.borrow(), [true, false]);
    }
}
