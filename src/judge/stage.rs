//! JUDGE's loop as a state machine: records of the partials log go in, transactions come out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Compiled, Judge, Mode,
    memory::Remembered,
    output::{BreachEvent, Notice, Output, Reading, ReadingsHeader, readings_batch},
    series::SeriesState,
    snapshot::{PROGRESS, Progress, READINGS, SNAPSHOT, SnapshotError, parse_series_key, readings_key, series_key},
};
use crate::{
    panes::{Millis, is_time},
    partial::{FormatError, Record, envelope, ipc},
};

/// How many readings go into one record.
const READINGS_MAX: usize = 5_000;
/// A snapshot larger than this is not written; recovery then replays from the one before.
const SNAPSHOT_BYTES_MAX: usize = 6 << 20;
/// How many outputs may wait to be written.
const OUTPUTS_MAX: usize = 20_000;
/// How long processed records may go without their positions being committed where nothing was published.
const COMMIT_MS: i64 = 1_000;

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
    /// Positions in the partials log.
    pub offsets: Vec<(i32, i64)>,
    /// What operators should see.
    pub notices: Vec<Notice>,
    /// The readings that were written, for whoever watches.
    pub shown: Vec<Reading>,
}

/// The state records of one partition, as recovery reads them.
#[derive(Debug, Default)]
pub struct Recorded {
    snapshot: Option<Vec<u8>>,
    progress: Option<Progress>,
    series: BTreeMap<String, Option<SeriesState>>,
    readings: BTreeMap<String, Remembered>,
}

impl Recorded {
    /// Takes one record of the state topic, in order.
    pub fn take(&mut self, key: &str, value: Option<&[u8]>) -> Result<(), FormatError> {
        let damaged = |error: serde_json::Error| FormatError::Damaged(error.to_string());
        match key {
            SNAPSHOT => self.snapshot = value.map(<[u8]>::to_vec),
            PROGRESS => {
                self.progress = value.map(serde_json::from_slice).transpose().map_err(damaged)?;
                let sound = |progress: &Progress| {
                    progress.position >= 0 && progress.next_ends.values().all(|end| is_time(*end))
                };
                if !self.progress.as_ref().is_none_or(sound) {
                    return Err(FormatError::Damaged("a position or a time is none".into()));
                }
            }
            _ if key.starts_with(READINGS) => match value {
                Some(bytes) => _ = self.readings.insert(key.to_owned(), Remembered::decode(bytes)?),
                None => _ = self.readings.remove(key),
            },
            // Notes of others, such as which sources were ever read.
            _ if parse_series_key(key).is_none() => {}
            _ => {
                _ = self.series.insert(key.to_owned(), value.map(serde_json::from_slice).transpose().map_err(damaged)?)
            }
        }
        Ok(())
    }
}

/// Why the loop stops.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A record cannot be read or written.
    #[error(transparent)]
    Format(#[from] FormatError),
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

struct Assigned {
    judge: Judge,
    /// The levels and episodes that were recorded, until replay has come to where they belong.
    recorded: BTreeMap<String, Option<SeriesState>>,
    /// The readings that were recorded since the snapshot, likewise.
    readings: BTreeMap<String, Remembered>,
    /// The keys of readings that the next snapshot makes needless.
    kept: BTreeSet<String>,
    /// The next record to process.
    position: i64,
    /// Records before this have been published.
    replay_until: i64,
    progress: Progress,
    told: BTreeMap<String, (Millis, i32)>,
    pending: Vec<Output>,
    snapshot_ms: Millis,
}

/// The loop's state.
pub struct Stage {
    partitions: BTreeMap<i32, Assigned>,
    compiled: Compiled,
    snapshot_interval_ms: i64,
    committed_ms: Millis,
}

impl Stage {
    /// A loop that writes a snapshot of each partition every so often.
    pub fn new(snapshot_interval_ms: i64) -> Self {
        Self {
            partitions: BTreeMap::new(),
            compiled: Compiled::default(),
            snapshot_interval_ms,
            committed_ms: Millis::MIN / 2,
        }
    }

    /// The same loop, with rule sets that were compiled before.
    pub fn knowing(self, compiled: Compiled) -> Self {
        Self { compiled, ..self }
    }

    /// A partition is ours; `recorded` is what its state topic holds and `start` where its log begins. Answers with
    /// the position to read from, and how many records before it the log no longer has.
    pub fn begin(
        &mut self,
        partition: i32,
        recorded: Recorded,
        start: i64,
        now: Millis,
    ) -> Result<(i64, i64), StageError> {
        let (judge, position) = match &recorded.snapshot {
            Some(bytes) => Judge::from_snapshot(bytes, &mut self.compiled)
                .map_err(|error| StageError::Snapshot { partition, error })?,
            None => (Judge::new(partition), start),
        };
        let progress = recorded.progress.unwrap_or_default();
        let missed = if recorded.snapshot.is_some() { (start - position).max(0) } else { 0 };
        let position = position.max(start);
        let mut assigned = Assigned {
            judge,
            recorded: recorded.series,
            kept: recorded.readings.keys().cloned().collect(),
            readings: recorded.readings,
            position,
            replay_until: progress.position,
            progress,
            told: BTreeMap::new(),
            pending: Vec::new(),
            snapshot_ms: now,
        };
        if position >= assigned.replay_until {
            assigned.caught_up()?;
        }
        self.partitions.insert(partition, assigned);
        Ok((position, missed))
    }

    /// A partition is no longer ours, or what was judged of it is void.
    pub fn forget(&mut self, partition: i32) {
        self.partitions.remove(&partition);
    }

    /// One record of the log.
    pub fn record(&mut self, partition: i32, offset: i64, append_ms: Millis, payload: &[u8]) -> Result<(), StageError> {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        if offset < assigned.position {
            return Ok(());
        }
        let mode = if offset < assigned.replay_until { Mode::Replay } else { Mode::Live };
        let record = Record::decode(payload)?;
        let mut out = Vec::new();
        assigned.judge.step(record, append_ms, mode, &mut self.compiled, &mut out)?;
        if mode == Mode::Live {
            assigned.pending.append(&mut out);
        }
        assigned.position = offset + 1;
        if mode == Mode::Replay && assigned.position >= assigned.replay_until {
            assigned.caught_up()?;
        }
        Ok(())
    }

    /// True where so much waits to be written that nothing more should be taken before.
    pub fn full(&self) -> bool {
        self.partitions.values().map(|assigned| assigned.pending.len()).sum::<usize>() > OUTPUTS_MAX
    }

    /// The last transaction before a clean end: with a snapshot of each partition, so that whoever takes over has
    /// nothing to replay.
    pub fn last(&mut self, now: Millis) -> Result<Option<Transaction>, StageError> {
        for assigned in self.partitions.values_mut() {
            assigned.snapshot_ms = Millis::MIN / 2;
        }
        self.committed_ms = Millis::MIN / 2;
        self.due(now)
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Millis) -> Result<Option<Transaction>, StageError> {
        let published = self
            .partitions
            .values()
            .any(|assigned| assigned.pending.iter().any(|output| !matches!(output, Output::Notice(_))));
        if !published && now - self.committed_ms < COMMIT_MS {
            return Ok(None);
        }
        let mut transaction = Transaction::default();
        for (partition, assigned) in &mut self.partitions {
            assigned.publish(*partition, now, self.snapshot_interval_ms, &mut transaction)?;
        }
        self.committed_ms = now;
        Ok((!transaction.offsets.is_empty()).then_some(transaction))
    }
}

impl Assigned {
    /// Replay has come to where the outputs ended: levels and episodes are taken as they were recorded.
    fn caught_up(&mut self) -> Result<(), StageError> {
        for (key, state) in std::mem::take(&mut self.recorded) {
            if let Some((rule, series)) = parse_series_key(&key) {
                self.judge.restore_series(rule, series, state);
            }
        }
        self.judge.restore_fenced(&self.progress.fenced);
        self.judge.restore_fed_from(&self.progress.fed_from);
        for remembered in std::mem::take(&mut self.readings).into_values() {
            self.judge.restore_readings(&remembered)?;
        }
        self.judge.end_of_replay();
        self.judge.restore_next_ends(&self.progress.next_ends);
        self.judge.restore_whole_from(&self.progress.whole_from);
        self.judge.take_changed();
        Ok(())
    }

    fn publish(
        &mut self,
        partition: i32,
        now: Millis,
        snapshot_interval_ms: i64,
        transaction: &mut Transaction,
    ) -> Result<(), StageError> {
        if self.position <= self.progress.position {
            // Still replaying what was published before.
            return Ok(());
        }
        let mut readings: Vec<Box<Reading>> = Vec::new();
        for output in std::mem::take(&mut self.pending) {
            match output {
                Output::Reading(reading) => readings.push(reading),
                Output::Breach(event) => {
                    self.progress.alerts = self.progress.alerts.saturating_add(1);
                    transaction.alerts.push(Alert { partition, ordinal: self.progress.alerts, event: *event });
                }
                Output::Notice(notice) => transaction.notices.push(notice),
            }
        }
        let progress = self.judge.progress();
        if !readings.is_empty() || progress != self.told {
            let mut blocks: Vec<&[Box<Reading>]> = readings.chunks(READINGS_MAX).collect();
            let last = blocks.pop().unwrap_or_default();
            // How far windows are closed is said with the last block, so that none is shown before it is whole.
            for (block, progress) in
                blocks.into_iter().map(|block| (block, BTreeMap::new())).chain([(last, progress.clone())])
            {
                self.progress.readings = self.progress.readings.saturating_add(1);
                let header = ReadingsHeader { partition, ordinal: self.progress.readings, progress };
                let rows: Vec<&Reading> = block.iter().map(AsRef::as_ref).collect();
                transaction.readings.push((partition, envelope(&header, &[ipc(&readings_batch(&rows, partition)?)?])));
            }
            self.told = progress;
        }
        transaction.shown.extend(readings.into_iter().map(|reading| *reading));
        for (rule, series, state) in self.judge.take_changed() {
            let value = state
                .map(|state| serde_json::to_vec(&state))
                .transpose()
                .map_err(|error| FormatError::Damaged(error.to_string()))?;
            transaction.state.push((partition, series_key(&rule, &series), value));
        }
        for (number, remembered) in self.judge.take_remembered().into_iter().enumerate() {
            let key = readings_key(self.position, number);
            transaction.state.push((partition, key.clone(), Some(remembered.encode()?)));
            self.kept.insert(key);
        }
        if now - self.snapshot_ms >= snapshot_interval_ms {
            let bytes =
                self.judge.snapshot(self.position).map_err(|error| StageError::Snapshot { partition, error })?;
            self.snapshot_ms = now;
            if bytes.len() <= SNAPSHOT_BYTES_MAX {
                transaction.state.push((partition, SNAPSHOT.to_owned(), Some(bytes)));
                // What is in the snapshot needs no record of its own.
                transaction.state.extend(std::mem::take(&mut self.kept).into_iter().map(|key| (partition, key, None)));
            } else {
                transaction.notices.push(Notice::SnapshotTooLarge { bytes: bytes.len() });
            }
        }
        self.progress.position = self.position;
        self.progress.fenced = self.judge.fenced();
        self.progress.whole_from = self.judge.whole_from();
        self.progress.next_ends = self.judge.next_ends();
        self.progress.fed_from.clone_from(self.judge.fed_from());
        let progress = serde_json::to_vec(&self.progress).map_err(|error| FormatError::Damaged(error.to_string()))?;
        transaction.state.push((partition, PROGRESS.to_owned(), Some(progress)));
        transaction.offsets.push((partition, self.position));
        Ok(())
    }
}
