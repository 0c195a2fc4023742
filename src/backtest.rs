//! A backtest: events from files, the same stages as in production, no Kafka and no clock.
//!
//! Each file is one partition of its table. Files are read in step by event time, section by section; how many rows
//! are decoded at a time changes nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use crate::{
    decode::{Event, Limits, Rejected},
    fold::{Folded, Folder, Origin, Source},
    judge::{
        Active, Compiled, Judge, Mode,
        output::{Notice, Output},
    },
    panes::{Millis, pane_start},
    partial::{Record, RuleSetRecord, Section},
    position::Range,
    rules::{Files, RuleSet, Settings},
};

/// One file of events.
pub struct Input {
    /// Its table.
    pub table: String,
    /// How it is called, for people.
    pub name: String,
    /// Its lines, without their ends.
    pub lines: Box<dyn Iterator<Item = io::Result<Vec<u8>>>>,
}

/// What a backtest read.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many events counted or were rejected.
    pub events: u64,
    /// The events that did not count: file, line from 1, and why.
    pub rejected: Vec<(String, Rejected)>,
    /// How many were rejected, of which `rejected` keeps the first.
    pub rejected_count: u64,
    /// Late events, by rule.
    pub late: BTreeMap<String, i64>,
    /// Rules that failed, and why.
    pub fenced: Vec<(String, String)>,
}

/// Why a backtest stops.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// A file cannot be read.
    #[error("cannot read {name}: {error}")]
    Read {
        /// The file.
        name: String,
        /// What the system says.
        error: io::Error,
    },
    /// The rules cannot be run.
    #[error("the rules cannot be run: {0}")]
    Rules(String),
    /// An evaluation failed.
    #[error("an evaluation failed: {0}")]
    Query(#[from] datafusion::common::DataFusionError),
}

/// How many rejected events are kept to be shown.
const REJECTED_SHOWN: usize = 20;

/// An append time that limits no event: files have none.
const ANY_TIME: Millis = Millis::MAX / 2;

struct Cursor {
    source: Source,
    input: Input,
    next: i64,
    ready: VecDeque<Folded>,
    /// The latest event time of the sections judged so far.
    judged: Option<Millis>,
    ended: bool,
}

/// How events are played.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which events count.
    pub limits: Limits,
    /// How many rows are decoded at a time; changes nothing but speed.
    pub batch_rows: usize,
    /// Until when time goes on, where that is later than the latest event.
    pub until: Option<Millis>,
}

/// The only settings that backtests know: a file that has ended holds nothing back.
pub const SETTINGS: Settings = Settings { idle_after_ms: Some(0) };

/// Plays `inputs` through a rule set made with [`SETTINGS`], and calls `emit` with readings and breach events in window
/// order. Answers with the state that is left, too.
pub fn run(
    set: &Arc<RuleSet>,
    inputs: Vec<Input>,
    options: Options,
    mut emit: impl FnMut(&Output),
) -> Result<(Summary, Judge), BacktestError> {
    let record = RuleSetRecord::new(1, &set.hash, None, 1, (0, 0), set.settings, &Files::default());
    let active = Active::of(record.clone(), Arc::clone(set)).map_err(BacktestError::Rules)?;
    let mut play = Play {
        folder: Folder::new(&[(Arc::clone(set), 1)], options.limits)?,
        judge: Judge::new(0),
        compiled: Compiled::knowing(active),
        cursors: Vec::new(),
        ended: Vec::new(),
        waiting: BTreeMap::new(),
        sequence: 0,
        summary: Summary::default(),
        latest: options.until,
        batch_rows: options.batch_rows.max(1),
    };
    let mut out = Vec::new();
    play.judge.step(Record::RuleSet(record), ANY_TIME, Mode::Live, &mut play.compiled, &mut out)?;
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    for input in inputs {
        let count = counts.entry(input.table.clone()).or_default();
        let source = Source { table: input.table.clone(), partition: *count };
        *count += 1;
        play.cursors.push(Cursor { source, input, next: 0, ready: VecDeque::new(), judged: None, ended: false });
    }
    for cursor in &play.cursors {
        let table = &cursor.source.table;
        let origin = Origin {
            topic: table.clone(),
            incarnation: String::new(),
            partitions: counts.get(table).copied().unwrap_or(1),
            begun: None,
            life: 0,
        };
        play.folder.begin(&cursor.source, origin, 0)?;
    }
    // A table without a file is a partition that has ended before it began.
    play.ended = set
        .tables()
        .into_iter()
        .filter(|table| !counts.contains_key(table))
        .map(|table| (Source { table, partition: 0 }, 0))
        .collect();
    let pane_ms = set.pane_ms().max(1);
    let mut idle_until = Millis::MIN;
    while let Some(at) = play.next_cursor() {
        // What has ended comes along with what lies furthest behind, and so holds nothing back.
        if let Some(until) =
            play.cursors[at].judged.map(|judged| pane_start(judged, pane_ms)).filter(|until| *until > idle_until)
        {
            idle_until = until;
            play.idle(until, &counts, &mut emit)?;
        }
        play.advance(at, &mut emit)?;
    }
    // Windows are closed up to the latest event of all files.
    if let Some(latest) = play.latest {
        play.idle(latest, &counts, &mut emit)?;
    }
    play.flush(Millis::MAX, &mut emit);
    play.summary.late = play.judge.late().into_iter().map(|(rule, late)| (rule.to_owned(), late)).collect();
    Ok((play.summary, play.judge))
}

struct Play {
    folder: Folder,
    judge: Judge,
    compiled: Compiled,
    cursors: Vec<Cursor>,
    /// Partitions that have ended, and at which position.
    ended: Vec<(Source, i64)>,
    /// Outputs whose turn has not come: window end, rule, series, and the order in which they came.
    waiting: BTreeMap<(Millis, String, String, u64), Output>,
    sequence: u64,
    summary: Summary,
    latest: Option<Millis>,
    batch_rows: usize,
}

impl Play {
    /// The file that lies furthest behind.
    fn next_cursor(&self) -> Option<usize> {
        let open = self.cursors.iter().enumerate().filter(|(_, cursor)| !cursor.ended);
        open.min_by_key(|(at, cursor)| (cursor.judged, *at)).map(|(at, _)| at)
    }

    /// Judges the next section of a file, or ends it.
    fn advance(&mut self, at: usize, emit: &mut impl FnMut(&Output)) -> Result<(), BacktestError> {
        while self.cursors[at].ready.is_empty() {
            if !self.read(at)? {
                break;
            }
        }
        if let Some(folded) = self.cursors[at].ready.pop_front() {
            let cursor = &mut self.cursors[at];
            cursor.judged = cursor.judged.max(folded.section.latest_ms);
            self.latest = self.latest.max(folded.section.latest_ms);
            return self.judge(&[folded], emit);
        }
        let cursor = &mut self.cursors[at];
        cursor.ended = true;
        let ended = (cursor.source.clone(), cursor.next);
        self.ended.push(ended);
        Ok(())
    }

    /// Reads some lines of a file; false at its end.
    fn read(&mut self, at: usize) -> Result<bool, BacktestError> {
        let cursor = &mut self.cursors[at];
        let mut lines: Vec<(i64, Vec<u8>)> = Vec::new();
        let start = cursor.next;
        while lines.len() < self.batch_rows {
            let Some(line) = cursor.input.lines.next() else { break };
            let line = line.map_err(|error| BacktestError::Read { name: cursor.input.name.clone(), error })?;
            if !line.is_empty() {
                lines.push((cursor.next, line));
            }
            cursor.next += 1;
        }
        if cursor.next == start {
            if self.folder.has_open(&cursor.source) {
                cursor.ready.extend(self.folder.close(&cursor.source)?);
                return Ok(true);
            }
            return Ok(false);
        }
        let events = lines.iter().map(|(offset, line)| Event { offset: *offset, timestamp: None, payload: Some(line) });
        let mut closed = Vec::new();
        let rejected = self.folder.fold(&cursor.source, events, cursor.next, &mut closed)?;
        cursor.ready.extend(closed);
        self.summary.events += u64::try_from(lines.len()).unwrap_or_default();
        for rejected in rejected {
            self.summary.rejected_count += 1;
            if self.summary.rejected.len() < REJECTED_SHOWN {
                self.summary.rejected.push((cursor.input.name.clone(), rejected));
            }
        }
        Ok(true)
    }

    /// Says that the partitions that have ended have come to `until` without further events.
    fn idle(
        &mut self,
        until: Millis,
        counts: &BTreeMap<String, i32>,
        emit: &mut impl FnMut(&Output),
    ) -> Result<(), BacktestError> {
        for (source, position) in self.ended.clone() {
            let waits = self
                .judge
                .active()
                .and_then(|active| active.set.catalog.tables.get(&source.table))
                .map_or(0, |table| table.out_of_orderness_ms);
            // Two ticks: the first says that it is quiet, the second that it has been so for long enough.
            for at in [until, until + waits] {
                let section = Section {
                    table: source.table.clone(),
                    topic: source.table.clone(),
                    incarnation: String::new(),
                    partition: source.partition,
                    partitions: counts.get(&source.table).copied().unwrap_or(1),
                    range: Range { start: position, end: position },
                    latest_ms: None,
                    end_at_ms: Some(at),
                    lost: false,
                    begun: None,
                    life: 0,
                    letters: 0,
                };
                self.judge(&[Folded { section, states: Vec::new() }], emit)?;
            }
        }
        Ok(())
    }

    fn judge(&mut self, folded: &[Folded], emit: &mut impl FnMut(&Output)) -> Result<(), BacktestError> {
        for sections in self.folder.spread(folded, 1)? {
            let mut out = Vec::new();
            self.judge.step(Record::Sections(sections), ANY_TIME, Mode::Live, &mut self.compiled, &mut out)?;
            for output in out {
                if let Output::Notice(Notice::Fenced { rule, reason }) = &output {
                    self.summary.fenced.push((rule.clone(), reason.clone()));
                }
                if let Some((end, rule, series)) = output.order() {
                    self.sequence += 1;
                    self.waiting.insert((end, rule, series, self.sequence), output);
                }
            }
        }
        self.flush(self.judge.closed_until(), emit);
        Ok(())
    }

    /// Emits what no later output can come before.
    fn flush(&mut self, until: Millis, emit: &mut impl FnMut(&Output)) {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > until {
                break;
            }
            emit(&first.remove());
        }
    }
}
