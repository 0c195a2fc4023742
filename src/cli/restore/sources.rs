//! `tierwatch restore --from-sources`: readings computed again from the events that the source topics still hold, where
//! the readings topic has them no longer.
//!
//! They are what the rules of today say. Rows that came from the log replace them, whenever those come.

use std::{cell::Cell, collections::BTreeMap, io, rc::Rc, sync::Arc};

use anyhow::Context;
use indicatif::ProgressBar;
use rdkafka::ClientConfig;

use super::{
    super::{compile, read_files},
    Store,
};
use crate::{
    backtest::{self, Input, Options},
    config::Config,
    decode::Limits,
    judge::output::{Output, Reading, ReadingsHeader, readings_batch},
    kafka::range::{self, Range},
    panes::Millis,
    partial::{RecordFormat, envelope, ipc},
    rules::RuleSet,
    store::stage::{Place, Stage},
};

/// How many readings go into one block.
const READINGS_MAX: usize = 5_000;

/// Plays the source topics through the rules, and inserts the readings of windows that are whole in them. Answers `false`
/// where the rules have errors, which were shown.
pub(super) fn restore(
    config: &Config,
    client: &ClientConfig,
    since: Option<Millis>,
    stage: Stage,
    store: &mut Store,
    bar: &ProgressBar,
) -> anyhow::Result<bool> {
    let Some(set) = compile(read_files(config, &[])?, backtest::SETTINGS) else { return Ok(false) };
    let set = Arc::new(set);
    let whole_from = Rc::new(Cell::new(since.unwrap_or(Millis::MIN)));
    let mut inputs = Vec::new();
    for table in set.tables() {
        let Some(known) = set.catalog.tables.get(&table) else { continue };
        for range in range::read(client, &known.topic, since, None)? {
            bar.inc_length(range.len());
            let name = range.name();
            inputs.push(Input { table: table.clone(), name, lines: lines(range, &whole_from, bar) });
        }
    }
    let limits = Limits { event_bytes_max: config.fold.max_event_bytes, ahead_ms_max: i64::MAX, age_ms_max: i64::MAX };
    let options = Options { limits, batch_rows: 8_192, until: None };
    let mut blocks = Blocks { config, stage, store, readings: Vec::new(), closed: BTreeMap::new(), offset: 0 };
    let mut outcome = Ok(());
    backtest::run(&set, inputs, options, |output| {
        if let Output::Reading(reading) = output
            && reading.window_start >= whole_from.get()
            && outcome.is_ok()
        {
            outcome = blocks.add(reading);
        }
    })?;
    outcome?;
    blocks.finish(&set)?;
    Ok(true)
}

/// The events of one partition. Where retention took some, windows are whole from the first that is left.
fn lines(
    mut range: Range,
    whole_from: &Rc<Cell<Millis>>,
    bar: &ProgressBar,
) -> Box<dyn Iterator<Item = io::Result<Vec<u8>>>> {
    let (whole_from, bar) = (Rc::clone(whole_from), bar.clone());
    let mut first = range.next_position() > 0;
    Box::new(std::iter::from_fn(move || {
        let left = range.len();
        let record = range.record().map_err(|error| io::Error::other(error.to_string())).transpose()?;
        bar.inc(left - range.len());
        if let (true, Ok(record)) = (std::mem::take(&mut first), &record) {
            whole_from.set(whole_from.get().max(record.append_ms.unwrap_or(Millis::MIN)));
        }
        Some(record.map(|record| record.payload))
    }))
}

/// Readings on their way into the store.
struct Blocks<'a> {
    config: &'a Config,
    stage: Stage,
    store: &'a mut Store,
    /// Which judge partition they were of nobody knows here: they go to the first.
    readings: Vec<Reading>,
    /// The last window of each rule.
    closed: BTreeMap<String, Millis>,
    offset: i64,
}

impl Blocks<'_> {
    fn add(&mut self, reading: &Reading) -> anyhow::Result<()> {
        let closed = self.closed.entry(reading.rule.header.name.clone()).or_insert(Millis::MIN);
        *closed = reading.window_end.max(*closed);
        self.readings.push(reading.clone());
        if self.readings.len() >= READINGS_MAX { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> anyhow::Result<()> {
        let readings = std::mem::take(&mut self.readings);
        let rows: Vec<&Reading> = readings.iter().collect();
        let block = ipc(&readings_batch(&rows, 0)?)?;
        self.block(0, BTreeMap::new(), block)
    }

    /// One block, older than all that comes from the log.
    fn block(
        &mut self,
        partition: i32,
        progress: BTreeMap<String, (Millis, i32)>,
        block: Vec<u8>,
    ) -> anyhow::Result<()> {
        let header = ReadingsHeader { partition, ordinal: 0, progress };
        let place = Place { partition, offset: self.offset, append_ms: 0 };
        self.offset += 1;
        self.stage.record(
            &self.config.topics.readings,
            place,
            &envelope(RecordFormat::newest(), &header, &[block]),
            0,
        )?;
        if let Some(flush) = self.stage.due(0)? {
            self.store.insert(&flush)?;
        }
        Ok(())
    }

    /// The rest, and with it how far windows are closed.
    fn finish(mut self, set: &RuleSet) -> anyhow::Result<()> {
        self.write()?;
        let partitions = self.config.topics.partitions;
        for partition in 0..partitions {
            let of_rule = |(name, closed): (&String, &Millis)| {
                let spread = set.rule(name)?.spread;
                (spread || partition == 0).then(|| (name.clone(), (*closed, if spread { partitions } else { 1 })))
            };
            let progress: BTreeMap<String, (Millis, i32)> = self.closed.iter().filter_map(of_rule).collect();
            let none = ipc(&readings_batch(&[], partition)?)?;
            self.block(partition, progress, none)?;
        }
        if let Some(flush) = self.stage.rest()? {
            self.store.insert(&flush).context("the last rows are missing")?;
        }
        Ok(())
    }
}
