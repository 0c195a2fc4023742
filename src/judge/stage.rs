//! JUDGE's loop as a state machine: records of the partials log go in, transactions come out.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    AtOnce, Compiled, Judge, Mode,
    breadcrumb::{Breadcrumb, LastWords},
    chain::Need,
    journal::{Entry, EntryHeader, Journal, JournalError, Owed, Recorded},
    output::{BreachEvent, Notice, Output, Reading, ReadingsHeader, readings_batch},
    snapshot::SnapshotError,
};
use crate::{
    panes::{Millis, is_time},
    partial::{FormatError, Record, RecordFormat, envelope, ipc, open, read_ipc},
    planted::{self, Bug},
    rules::{RuleSet, RuleSets, hash, hash_bytes},
    time,
};

/// How many readings go into one record.
const READINGS_MAX: usize = 5_000;
/// How many outputs may wait to be written.
const OUTPUTS_MAX: usize = 20_000;
/// How many windows are closed before others are heard.
const WINDOWS_AT_ONCE: usize = 256;
/// About how many bytes a reading is.
const READING_BYTES: usize = 512;
/// How long processed records may go without their positions being committed where nothing was published.
const COMMIT_MS: i64 = 1_000;
/// How long something must be missing before it is folded again: what was cut off by a takeover may be on its way.
const MISSING_MS: i64 = 1_000;
/// How long it may take until what was folded again has come.
const REFOLD_MS: i64 = 10_000;
/// After so many intervals of snapshots it is checked that outputs have arrived.
const CHECK_EVERY: i64 = 2;

/// A breach event on its way out.
#[derive(Debug, Clone)]
pub struct Alert {
    /// The judge partition.
    pub partition: i32,
    /// Which breach event of the partition this is.
    pub ordinal: u64,
    /// The event.
    pub event: BreachEvent,
}

/// What is to be written together.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Readings records: partition and bytes.
    pub readings: Vec<(i32, Vec<u8>)>,
    /// Breach events.
    pub alerts: Vec<Alert>,
    /// State records: partition, key, and value or tombstone.
    pub state: Vec<(i32, String, Option<Vec<u8>>)>,
    /// From which rule set on a partition needs folds, where that has changed.
    pub needs: Vec<(i32, u64)>,
    /// Positions in the partials log.
    pub offsets: Vec<(i32, i64)>,
    /// What operators should see.
    pub notices: Vec<Notice>,
    /// The readings that were written, for whoever watches.
    pub shown: Vec<Reading>,
}

/// What stands in the topics of outputs.
#[derive(Debug, Default)]
pub struct Arrived {
    /// The hashes of readings records.
    pub blocks: BTreeSet<String>,
    /// The ids of breach events.
    pub alerts: BTreeSet<String>,
    /// Dead letters that are looked for again.
    pub letters: Vec<Owed>,
    /// The ends of the readings and the alerts partition when it was asked.
    pub until: (i64, i64),
    /// What the state topic holds from [`unconfirmed`](Stage::unconfirmed) on.
    pub state: Recorded,
    /// The end of the state partition when it was asked.
    pub state_until: i64,
}

/// Why the loop stops.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A record cannot be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The state topic cannot be gone on from.
    #[error("the state of partition {partition}: {error}")]
    Journal {
        /// The judge partition.
        partition: i32,
        /// Why.
        error: JournalError,
    },
    /// A snapshot cannot be read or written.
    #[error("the snapshot of partition {partition}: {error}")]
    Snapshot {
        /// The judge partition.
        partition: i32,
        /// Why.
        error: SnapshotError,
    },
    /// An evaluation failed that belongs to no rule.
    #[error("judging failed: {0}")]
    Query(#[from] datafusion::common::DataFusionError),
    /// A block of readings cannot be built.
    #[error("readings cannot be written: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

/// The outputs that were written and are not known to have arrived.
#[derive(Debug, Default)]
struct Outbox {
    told: BTreeMap<String, (u64, BreachEvent)>,
    blocks: BTreeMap<String, Vec<u8>>,
    letters: Vec<Owed>,
}

struct Assigned {
    judge: Judge,
    /// The entries since the snapshot, until replay has come to where they belong.
    entries: VecDeque<Entry>,
    /// The next record to process.
    position: i64,
    /// Records before this have been published.
    replay_until: i64,
    /// What the last entry said.
    last: EntryHeader,
    journal: Journal,
    outbox: Outbox,
    /// Outputs that did not arrive.
    again: Outbox,
    /// Breach events that arrived though their entry did not.
    arrived: BTreeSet<String>,
    /// A name that no other owner of this partition has.
    tenure: String,
    /// From which rule set on it was said that folds are needed.
    said_needs: u64,
    /// When rules were asked for.
    wanted_ms: Millis,
    /// What is missing, and from when on it is asked for.
    missing: Vec<(Need, Millis)>,
    told: BTreeMap<String, (Millis, i32)>,
    pending: Vec<Output>,
    /// When the record that was taken last was appended.
    append_ms: Millis,
    snapshot_ms: Millis,
    checked_ms: Millis,
    /// Where the snapshot that is written next begins in the state topic, or before.
    state_from: i64,
}

/// How the state is written.
#[derive(Debug, Clone, Copy)]
pub struct StateOptions {
    /// How often a snapshot of each partition is taken, in milliseconds.
    pub snapshot_interval_ms: i64,
    /// How large a record is made at most, in bytes: what is larger is cut.
    pub part_bytes_max: usize,
}

impl StateOptions {
    /// How much is closed before others are heard: about a record full.
    fn at_once(&self) -> AtOnce {
        AtOnce { windows: WINDOWS_AT_ONCE, outputs: (self.part_bytes_max / READING_BYTES).max(1) }
    }
}

/// The loop's state.
pub struct Stage {
    partitions: BTreeMap<i32, Assigned>,
    compiled: Compiled,
    options: StateOptions,
    committed_ms: Millis,
    /// How many times a partition was begun.
    begun: u64,
    /// When one was begun first.
    began_ms: Millis,
}

impl Stage {
    /// A loop without partitions.
    pub fn new(options: StateOptions, sets: RuleSets) -> Self {
        Self {
            partitions: BTreeMap::new(),
            compiled: Compiled::sharing(sets),
            options,
            committed_ms: Millis::MIN / 2,
            begun: 0,
            began_ms: 0,
        }
    }

    /// A partition is ours; `recorded` is what its state topic holds and `start` where its log begins; `owner` is a name
    /// that no other process has. Answers with the position to read from, and how many records before it the log no
    /// longer has.
    pub fn begin(
        &mut self,
        partition: i32,
        mut recorded: Recorded,
        start: i64,
        owner: &str,
        now: Millis,
    ) -> Result<(i64, i64), StageError> {
        self.begun += 1;
        if self.begun == 1 {
            self.began_ms = now;
        }
        let before = recorded.breadcrumb.take();
        let restored = recorded.restore().map_err(|error| StageError::Journal { partition, error })?;
        let (mut judge, position, kept) = match restored.snapshot {
            Some((entry, bytes)) => {
                let (judge, position) = Judge::from_snapshot(&bytes, &mut self.compiled)
                    .map_err(|error| StageError::Snapshot { partition, error })?;
                (judge, position, Some(entry))
            }
            None => (Judge::new(partition), start, None),
        };
        let last = restored.entries.last().or(kept.as_ref()).map(|entry| entry.header.clone()).unwrap_or_default();
        judge.set_breadcrumb(Breadcrumb::follow(before, &format!("{owner}/{}", self.began_ms), last.position));
        // What was written before the last check has arrived.
        let mut outbox = Outbox::default();
        let since = |entry: &&Entry| entry.header.unchecked == last.unchecked;
        kept.iter().chain(&restored.entries).filter(since).for_each(|entry| outbox.add(entry));
        let missed = if last.number > 0 { (start - position).max(0) } else { 0 };
        let position = position.max(start);
        let mut assigned = Assigned {
            judge,
            entries: restored.entries.into(),
            position,
            replay_until: last.position,
            last,
            journal: restored.journal,
            outbox,
            again: Outbox::default(),
            arrived: BTreeSet::new(),
            tenure: format!("{owner}/{now}/{}", self.begun),
            said_needs: 0,
            wanted_ms: Millis::MIN / 2,
            missing: Vec::new(),
            told: BTreeMap::new(),
            pending: Vec::new(),
            append_ms: 0,
            snapshot_ms: now,
            checked_ms: now,
            state_from: 0,
        };
        if restored.left_out > 0 {
            assigned.pending.push(Output::Notice(Notice::SentAgain { outputs: restored.left_out }));
        }
        assigned.judge.close_at_once(self.options.at_once());
        if assigned.last.unfinished {
            assigned.judge.resume();
        }
        assigned.pass_entries()?;
        self.partitions.insert(partition, assigned);
        Ok((position, missed))
    }

    /// The format that is written in a partition.
    pub fn format(&self, partition: i32) -> RecordFormat {
        self.partitions.get(&partition).map_or(RecordFormat::FIRST, |assigned| assigned.judge.format())
    }

    /// The note that this owner leaves of a partition.
    pub fn breadcrumb(&self, partition: i32) -> Option<&Breadcrumb> {
        Some(self.partitions.get(&partition)?.judge.breadcrumb())
    }

    /// From now on each evaluation of a partition is noted before, until something of it is published.
    pub fn be_wary(&mut self, partition: i32, words: LastWords) {
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.judge.note_to(words);
        }
    }

    /// A partition was published up to here.
    pub fn came_to(&mut self, partition: i32, position: i64) {
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.judge.came_to(position);
        }
    }

    /// A partition is no longer ours, or what was judged of it is void.
    pub fn forget(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// From where on it is not known which outputs of a partition arrived: positions in the readings and the alerts topic.
    pub fn unchecked(&self, partition: i32) -> Option<(i64, i64)> {
        Some(self.partitions.get(&partition)?.last.unchecked)
    }

    /// The dead letters that sections of a partition speak of, and that are not known to have arrived.
    pub fn letters(&self, partition: i32) -> &[Owed] {
        self.partitions.get(&partition).map(|assigned| assigned.outbox.letters.as_slice()).unwrap_or_default()
    }

    /// The partition whose outputs should be checked now, where there is one.
    pub fn check_due(&self, now: Millis) -> Option<i32> {
        let due = |assigned: &Assigned| {
            let intervals = if assigned.journal.is_unconfirmed() { 1 } else { CHECK_EVERY };
            (assigned.journal.is_unconfirmed() || !assigned.outbox.is_empty())
                && now - assigned.checked_ms >= intervals * self.options.snapshot_interval_ms
        };
        self.partitions.iter().find(|(_, assigned)| due(assigned)).map(|(partition, _)| *partition)
    }

    /// From where on the state topic should be read, where a snapshot was written of which nobody knows whether it is whole.
    pub fn unconfirmed(&self, partition: i32) -> Option<i64> {
        self.partitions
            .get(&partition)
            .and_then(|assigned| assigned.journal.is_unconfirmed().then_some(assigned.state_from))
    }

    /// What was found in the topics of outputs from [`unchecked`](Self::unchecked) on. What is not there is sent again.
    pub fn checked(&mut self, partition: i32, arrived: Arrived, now: Millis) {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        assigned.checked_ms = now;
        if !assigned.journal.confirm(&arrived.state) {
            assigned.pending.push(Output::Notice(Notice::SnapshotTorn));
        }
        if !assigned.journal.is_writing() {
            assigned.state_from = arrived.state_until;
        }
        assigned.last.unchecked = arrived.until;
        let (mut told, mut blocks) = (BTreeMap::new(), BTreeMap::new());
        std::mem::swap(&mut told, &mut assigned.outbox.told);
        std::mem::swap(&mut blocks, &mut assigned.outbox.blocks);
        assigned.again.blocks.extend(blocks.into_iter().filter(|(hash, _)| !arrived.blocks.contains(hash)));
        assigned.outbox.letters.clear();
        assigned.again.letters = arrived.letters;
        let own: BTreeSet<String> = told.keys().cloned().collect();
        assigned.again.told.extend(told.into_iter().filter(|(id, _)| !arrived.alerts.contains(id)));
        assigned.arrived.extend(arrived.alerts.into_iter().filter(|id| !own.contains(id)));
        let outputs = assigned.again.told.len() + assigned.again.blocks.len();
        if outputs > 0 {
            assigned.pending.push(Output::Notice(Notice::SentAgain { outputs }));
        }
    }

    /// A partition whose log lacks the rules by which others fold, and that should be given them now.
    pub fn wants_rules(&mut self, now: Millis) -> Option<i32> {
        let partition = self.partitions.iter_mut().find(|(_, assigned)| {
            let live = assigned.position >= assigned.replay_until;
            live && assigned.judge.has_missed_rules() && now - assigned.wanted_ms >= REFOLD_MS
        });
        partition.map(|(partition, assigned)| {
            assigned.wanted_ms = now;
            *partition
        })
    }

    /// Something that is missing in a partition and should be folded again now, where there is any; the partition comes
    /// first.
    pub fn need(&mut self, now: Millis) -> Option<(i32, Need)> {
        for (partition, assigned) in &mut self.partitions {
            if assigned.position < assigned.replay_until || assigned.judge.has_missed_rules() {
                continue;
            }
            let mut known = std::mem::take(&mut assigned.missing);
            for need in assigned.judge.needs() {
                let since = known.iter().position(|(other, _)| *other == need).map(|at| known.swap_remove(at).1);
                assigned.missing.push((need, since.unwrap_or(now + MISSING_MS)));
            }
            if let Some((need, at)) = assigned.missing.iter_mut().find(|(_, at)| *at <= now) {
                *at = now + REFOLD_MS;
                return Some((*partition, need.clone()));
            }
        }
        None
    }

    /// The rule sets whose folds a partition needs, with their numbers, the one in force last.
    pub fn sets(&self, partition: i32) -> Vec<(Arc<RuleSet>, u64)> {
        self.partitions.get(&partition).map(|assigned| assigned.judge.sets()).unwrap_or_default()
    }

    /// The position up to which a partition was published.
    pub fn published(&self, partition: i32) -> Option<i64> {
        Some(self.partitions.get(&partition)?.last.position)
    }

    /// One record of the log.
    pub fn record(&mut self, partition: i32, offset: i64, append_ms: Millis, payload: &[u8]) -> Result<(), StageError> {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        if offset < assigned.position {
            return Ok(());
        }
        while assigned.is_unfinished() {
            assigned.go_on()?;
        }
        let replayed = offset < assigned.replay_until;
        let mode = if replayed && !planted::is(Bug::JudgeAnew) { Mode::Replay } else { Mode::Live };
        let mut out = Vec::new();
        match Record::decode(payload) {
            Ok(record) => assigned.judge.step(record, append_ms, mode, &mut self.compiled, &mut out)?,
            // Of a later binary: nothing is lost while this one waits to be upgraded.
            Err(error @ FormatError::Version(_)) => return Err(error.into()),
            // What it held is missed, and folded again.
            Err(error) => out.push(Output::Notice(Notice::Garbled { offset, error: error.to_string() })),
        }
        assigned.append_ms = append_ms;
        if mode == Mode::Live {
            assigned.say(out);
        }
        assigned.position = offset + 1;
        if replayed {
            assigned.pass_entries()?;
        }
        Ok(())
    }

    /// True where windows that are due are not closed yet.
    pub fn is_unfinished(&self) -> bool {
        self.partitions.values().any(Assigned::is_unfinished)
    }

    /// Closes more of the windows that time has passed, where that was too much at once.
    pub fn go_on(&mut self) -> Result<(), StageError> {
        self.partitions.values_mut().filter(|assigned| assigned.is_unfinished()).try_for_each(Assigned::go_on)
    }

    /// True where so much waits to be written that nothing more should be taken before, where windows that are due are not
    /// closed yet, or where a rule was fenced off of which this process might yet die in another partition.
    pub fn full(&self) -> bool {
        let waiting = self.partitions.values().map(|assigned| assigned.pending.len()).sum::<usize>();
        let holds = |assigned: &Assigned| assigned.judge.has_refused() || assigned.is_unfinished();
        waiting > OUTPUTS_MAX || self.partitions.values().any(holds)
    }

    /// The last transaction before a clean end: with a snapshot of each partition, so that whoever takes over has
    /// nothing to replay.
    pub fn last(&mut self, now: Millis) -> Result<Option<Transaction>, StageError> {
        self.transaction(now, StateOptions { snapshot_interval_ms: 0, ..self.options }, true)
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Millis) -> Result<Option<Transaction>, StageError> {
        let published = self.partitions.values().any(|assigned| {
            !assigned.again.is_empty() || assigned.pending.iter().any(|output| !matches!(output, Output::Notice(_)))
        });
        if !published && now - self.committed_ms < COMMIT_MS {
            return Ok(None);
        }
        self.transaction(now, self.options, false)
    }

    fn transaction(
        &mut self,
        now: Millis,
        options: StateOptions,
        last: bool,
    ) -> Result<Option<Transaction>, StageError> {
        let mut transaction = Transaction::default();
        for (partition, assigned) in &mut self.partitions {
            assigned.publish(*partition, now, options, last, &mut transaction)?;
        }
        self.committed_ms = now;
        Ok((!transaction.offsets.is_empty()).then_some(transaction))
    }
}

/// Readings as blocks of up to so many bytes, as far as one reading is no larger.
fn cut(
    readings: &[Box<Reading>],
    partition: i32,
    bytes_max: usize,
    blocks: &mut Vec<Vec<u8>>,
) -> Result<(), StageError> {
    let rows: Vec<&Reading> = readings.iter().map(AsRef::as_ref).collect();
    let block = ipc(&readings_batch(&rows, partition)?)?;
    if block.len() <= bytes_max || readings.len() == 1 {
        blocks.push(block);
        return Ok(());
    }
    let (first, second) = readings.split_at(readings.len() / 2);
    cut(first, partition, bytes_max, blocks)?;
    cut(second, partition, bytes_max, blocks)
}

impl Outbox {
    fn add(&mut self, entry: &Entry) {
        self.told
            .extend(entry.header.told.iter().map(|(ordinal, event)| (event.id.clone(), (*ordinal, event.clone()))));
        self.blocks.extend(entry.blocks.iter().map(|block| (hash_bytes(block), block.clone())));
        self.letters.extend_from_slice(&entry.header.letters);
    }

    fn is_empty(&self) -> bool {
        self.told.is_empty() && self.blocks.is_empty() && self.letters.is_empty()
    }
}

impl Assigned {
    /// True where windows are due that are not closed.
    fn is_unfinished(&self) -> bool {
        self.position >= self.replay_until && self.judge.is_unfinished()
    }

    /// Closes more of them.
    fn go_on(&mut self) -> Result<(), StageError> {
        let mut out = Vec::new();
        self.judge.go_on(&mut out)?;
        self.say(out);
        Ok(())
    }

    /// Keeps outputs until they are written. Breach events say how late they are, by the log's time.
    fn say(&mut self, mut out: Vec<Output>) {
        for output in &mut out {
            if let Output::Breach(event) = output
                && is_time(self.append_ms)
            {
                let end = time::parse_rfc3339(&event.window_end);
                event.delay_ms = end.map(|end| self.append_ms - end);
            }
        }
        self.pending.append(&mut out);
    }

    /// Takes what was recorded of the records up to here, and where replay is over, goes on by itself.
    fn pass_entries(&mut self) -> Result<(), StageError> {
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.header.position <= self.position) {
            self.judge.restore(&entry)?;
            for block in &entry.blocks {
                let (_, rows) = open::<ReadingsHeader>(block)?;
                self.judge.restore_said(&read_ipc(rows)?)?;
            }
        }
        self.judge.look_ahead(self.entries.front());
        if self.position >= self.replay_until {
            self.judge.end_of_replay();
        }
        Ok(())
    }

    fn publish(
        &mut self,
        partition: i32,
        now: Millis,
        options: StateOptions,
        last: bool,
        transaction: &mut Transaction,
    ) -> Result<(), StageError> {
        let replaying = self.position < self.replay_until;
        let again = !self.again.is_empty();
        let writing = self.journal.is_writing();
        let more = again || writing || last || self.pending.iter().any(|output| !matches!(output, Output::Notice(_)));
        if replaying
            || (self.position <= self.last.position && !more && self.last.unfinished == self.judge.is_unfinished())
        {
            return Ok(());
        }
        let format = self.judge.format();
        let mut entry = Entry::default();
        let outbox = std::mem::take(&mut self.again);
        let mut readings: Vec<Box<Reading>> = Vec::new();
        entry.header.told.extend(outbox.told.into_values());
        entry.header.told.sort_unstable_by_key(|(ordinal, _)| *ordinal);
        entry.blocks.extend(outbox.blocks.into_values());
        entry.header.letters = outbox.letters;
        entry.header.letters.extend(self.judge.take_letters());
        for output in std::mem::take(&mut self.pending) {
            match output {
                Output::Reading(reading) => readings.push(reading),
                Output::Breach(event) => {
                    self.last.alerts = self.last.alerts.saturating_add(1);
                    // Told before by a transaction of which the rest vanished.
                    if !self.arrived.remove(&event.id) {
                        entry.header.told.push((self.last.alerts, *event));
                    }
                }
                Output::Notice(notice) => transaction.notices.push(notice),
            }
        }
        let progress = self.judge.progress();
        if !readings.is_empty() || progress != self.told {
            let mut blocks = Vec::new();
            for rows in readings.chunks(READINGS_MAX) {
                cut(rows, partition, options.part_bytes_max, &mut blocks)?;
            }
            if blocks.is_empty() {
                blocks.push(ipc(&readings_batch(&[], partition)?)?);
            }
            // How far windows are closed is said with the last block, so that none is shown before it is whole.
            let final_block = blocks.len() - 1;
            for (at, block) in blocks.into_iter().enumerate() {
                self.last.readings = self.last.readings.saturating_add(1);
                let progress = if at == final_block { progress.clone() } else { BTreeMap::new() };
                let header = ReadingsHeader { partition, ordinal: self.last.readings, progress };
                entry.blocks.push(envelope(format, &header, &[block]));
            }
            self.told = progress;
        }
        transaction.shown.extend(readings.into_iter().map(|reading| *reading));
        for (rule, series, state) in self.judge.take_changed() {
            entry.header.series.push((rule, series.to_string(), state));
        }
        entry.remembered = self.judge.take_remembered();
        let number = self.last.number + 1;
        let id = hash(&format!("{}\u{1f}{partition}\u{1f}{number}", self.tenure));
        entry.header = EntryHeader {
            number,
            after: std::mem::replace(&mut self.last.id, id.clone()),
            id,
            position: self.position,
            readings: self.last.readings,
            alerts: self.last.alerts,
            unchecked: self.last.unchecked,
            fenced: self.judge.fenced(),
            judging: self.judge.older_that_judge(),
            overflowing: self.judge.overflowing(),
            sources: self.judge.sources().clone(),
            whole_from: self.judge.whole_from(),
            next_ends: self.judge.next_ends(),
            closed_ends: self.judge.closed_ends(),
            corrected_from: self.judge.corrected_from(),
            fed_from: self.judge.fed_from().clone(),
            unfinished: self.judge.is_unfinished(),
            ..entry.header
        };
        transaction.readings.extend(entry.blocks.iter().map(|block| (partition, block.clone())));
        let told = entry.header.told.iter();
        transaction.alerts.extend(told.map(|(ordinal, event)| Alert {
            partition,
            ordinal: *ordinal,
            event: event.clone(),
        }));
        self.outbox.add(&entry);
        let mut records = entry.records(format, options.part_bytes_max)?;
        self.journal.wrote(number, &records);
        self.last = EntryHeader { series: Vec::new(), told: Vec::new(), letters: Vec::new(), ..entry.header };
        if !writing
            && (last || !self.journal.is_unconfirmed())
            && now - self.snapshot_ms >= options.snapshot_interval_ms
        {
            self.snapshot_ms = now;
            match self.judge.snapshot(self.position) {
                Ok(judge) => {
                    // What is not known to have arrived goes with it, since the entries that hold it will not be kept.
                    let (told, letters) = (self.outbox.told.values().cloned().collect(), self.outbox.letters.clone());
                    let kept = Entry {
                        header: EntryHeader { told, letters, ..self.last.clone() },
                        blocks: self.outbox.blocks.values().cloned().collect(),
                        remembered: Vec::new(),
                    };
                    self.journal.begin_snapshot(format, &kept, &judge, options.part_bytes_max)?;
                }
                // It is said with what is written next, and the snapshot after that is without this fold.
                Err(SnapshotError::Fold { fold, error }) => {
                    let mut out = Vec::new();
                    self.judge.fence_fold(&fold, self.append_ms, Mode::Live, &error, &mut out)?;
                    self.say(out);
                }
                Err(error) => return Err(StageError::Snapshot { partition, error }),
            }
        }
        records.extend(self.journal.next(last));
        transaction.state.extend(records.into_iter().map(|(key, value)| (partition, key, value)));
        transaction.offsets.push((partition, self.position));
        let needs = self.judge.needs_rules_from();
        if needs != self.said_needs {
            self.said_needs = needs;
            transaction.needs.push((partition, needs));
        }
        Ok(())
    }
}
