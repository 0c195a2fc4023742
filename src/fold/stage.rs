//! FOLD's loop as a state machine: what the source says goes in, transactions come out. It reads no clock and
//! sends nothing; the edge carries.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use datafusion::common::Result;

use super::{Folded, Folder, NumberedSet, Origin, Source};
use crate::{
    decode::{Event, Limits},
    panes::Millis,
    partial::{Failure, FormatError, Record, RecordFormat, Section},
    position::Range,
};

/// How many closed sections are collected before a transaction is due whatever the clock says.
const SECTIONS_MAX: usize = 100;
/// How many bytes of dead letters are collected before a transaction is due whatever the clock says.
const LETTERS_BYTES_MAX: usize = 8 << 20;
/// How often a partition that is at its end says so, in milliseconds.
const TICK_MS: i64 = 1_000;
/// What of an event's bytes goes into its dead letter, of its key, and of all its headers: together less than any topic takes.
const DEAD_LETTER_BYTES_MAX: usize = 512 * 1024;
const DEAD_LETTER_KEY_MAX: usize = 64 * 1024;
const DEAD_LETTER_HEADERS_MAX: usize = 128 * 1024;

/// An event as it came from the source.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// Its position.
    pub offset: i64,
    /// Its record's timestamp in epoch milliseconds.
    pub timestamp: Option<Millis>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its bytes.
    pub payload: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Vec<(Cow<'a, str>, Option<&'a [u8]>)>,
}

/// An event that does not count, as it goes to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its position.
    pub offset: i64,
    /// Its record's timestamp.
    pub timestamp: Option<Millis>,
    /// A short stable name of the reason.
    pub reason: &'static str,
    /// What is wrong, for people.
    pub detail: String,
    /// Its key, cut where it is too long.
    pub key: Option<Vec<u8>>,
    /// Its bytes, cut where they are too many.
    pub payload: Option<Vec<u8>>,
    /// How many bytes it had.
    pub bytes: usize,
    /// The hash of all its bytes, where they were cut.
    pub sha256: Option<String>,
    /// Its headers, the first of them where they are too many bytes.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// What was cut: `key`, `headers`, `payload`.
    pub cut: Vec<&'static str>,
}

impl DeadLetter {
    /// About how many bytes it takes.
    fn size(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        length(&self.key) + length(&self.payload) + headers.sum::<usize>() + 512
    }
}

/// What is to be written together: all of it or nothing.
#[derive(Debug, Default)]
pub struct Transaction {
    /// Partials records, by partials partition.
    pub records: Vec<(i32, Vec<u8>)>,
    /// Dead letters.
    pub dead_letters: Vec<DeadLetter>,
    /// Source positions: topic, partition, position.
    pub offsets: Vec<(String, i32, i64)>,
    /// How many events it stands for, for people.
    pub events: u64,
}

/// The loop's state.
pub struct Stage {
    folder: Folder,
    limits: Limits,
    partials_partitions: i32,
    interval_ms: i64,
    record_bytes_max: usize,
    format: RecordFormat,
    topics: BTreeMap<Source, String>,
    /// Sources whose owner has not spoken yet.
    silent: BTreeSet<Source>,
    /// Sources that were read to their end, and when they were.
    at_end: BTreeMap<Source, Millis>,
    ready: Vec<Folded>,
    dead_letters: Vec<DeadLetter>,
    /// About how many bytes the dead letters have been since the last transaction.
    letters_bytes: usize,
    events: u64,
    flushed_ms: Millis,
    ticked_ms: Millis,
}

/// Why the loop stops.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// A fold failed on events it should take.
    #[error("a fold failed: {0}")]
    Fold(#[from] datafusion::common::DataFusionError),
    /// A record cannot be written.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl Stage {
    /// A loop for the folds of rule sets, the one in force last, writing to so many partials partitions every `interval_ms`,
    /// in records of up to so many bytes.
    pub fn new(
        sets: &[NumberedSet],
        limits: Limits,
        partials_partitions: i32,
        interval_ms: i64,
        record_bytes_max: usize,
    ) -> Result<Self> {
        Ok(Self {
            folder: Folder::new(sets, limits)?.with_section_bytes_max(record_bytes_max),
            limits,
            partials_partitions,
            interval_ms,
            record_bytes_max,
            format: RecordFormat::FIRST,
            topics: BTreeMap::new(),
            silent: BTreeSet::new(),
            at_end: BTreeMap::new(),
            ready: Vec::new(),
            dead_letters: Vec::new(),
            letters_bytes: 0,
            events: 0,
            flushed_ms: Millis::MIN / 2,
            ticked_ms: Millis::MIN / 2,
        })
    }

    /// A source partition is ours from `position` on, or is read again from there.
    pub fn begin(&mut self, source: &Source, origin: Origin, position: i64) -> Result<()> {
        self.forget(source);
        self.topics.insert(source.clone(), origin.topic.clone());
        self.silent.insert(source.clone());
        self.folder.begin(source, origin, position)
    }

    /// Says of positions that the source no longer has that they are lost: visible, never waited for.
    pub fn lost(&mut self, source: &Source, origin: &Origin, range: Range) {
        let section = Section {
            table: source.table.clone(),
            topic: origin.topic.clone(),
            incarnation: origin.incarnation.clone(),
            partition: source.partition,
            partitions: origin.partitions,
            range,
            latest_ms: None,
            end_at_ms: None,
            lost: true,
            begun: origin.begun,
            life: origin.life,
            letters: 0,
        };
        self.ready.push(Folded { section, states: Vec::new() });
    }

    /// A source partition is no longer ours, or what was read of it is void.
    pub fn forget(&mut self, source: &Source) {
        let topic = self.topics.remove(source);
        self.silent.remove(source);
        self.at_end.remove(source);
        self.ready
            .retain(|folded| folded.section.table != source.table || folded.section.partition != source.partition);
        self.dead_letters
            .retain(|letter| Some(&letter.topic) != topic.as_ref() || letter.partition != source.partition);
        self.folder.end(source);
    }

    /// Events of one partition, in order.
    pub fn events(&mut self, source: &Source, messages: &[Message<'_>]) -> Result<()> {
        let (Some(last), Some(topic)) = (messages.last(), self.topics.get(source)) else { return Ok(()) };
        self.at_end.remove(source);
        self.events += u64::try_from(messages.len()).unwrap_or_default();
        let events = messages.iter().map(|message| Event {
            offset: message.offset,
            timestamp: message.timestamp,
            payload: message.payload,
        });
        for rejected in self.folder.fold(source, events, last.offset + 1, &mut self.ready)? {
            if let Ok(at) = messages.binary_search_by_key(&rejected.offset, |message| message.offset) {
                let letter = dead_letter(topic, source.partition, &messages[at], rejected.reason, rejected.detail);
                self.letters_bytes += letter.size();
                self.dead_letters.push(letter);
            }
        }
        Ok(())
    }

    /// Nothing more stands before `end` in a partition: what is left there are markers, or nothing.
    pub fn until(&mut self, source: &Source, end: i64) -> Result<()> {
        self.folder.fold(source, [], end, &mut self.ready).map(|_| ())
    }

    /// Since when it is known that a partition was read to its end and nothing had come; `None` where it was not. What is
    /// written later says this time: nobody has looked since.
    pub fn set_at_end(&mut self, source: &Source, at_ms: Option<Millis>) {
        match at_ms.filter(|_| self.topics.contains_key(source)) {
            Some(at_ms) => _ = self.at_end.insert(source.clone(), at_ms),
            None => _ = self.at_end.remove(source),
        }
    }

    /// What failed on an event.
    pub fn failed(&self) -> Vec<Failure> {
        self.folder.failed()
    }

    /// Goes on with other rule sets. What is open must have been written before: see [`close`](Self::close).
    pub fn switch(&mut self, sets: &[NumberedSet]) -> Result<()> {
        self.folder = self.folder.go_on(sets, self.limits)?;
        Ok(())
    }

    /// The format that is written from now on.
    pub fn write_in(&mut self, format: RecordFormat) {
        self.format = format;
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Millis) -> std::result::Result<Option<Transaction>, StageError> {
        if self.is_due(now) { self.close(now) } else { Ok(None) }
    }

    /// True where something is to be written at `now`.
    pub fn is_due(&self, now: Millis) -> bool {
        let interval = now - self.flushed_ms >= self.interval_ms;
        !self.silent.is_empty() || self.is_full() || (interval && self.has_open(now))
    }

    /// True where so much is open that it should be written before more is taken.
    pub fn is_full(&self) -> bool {
        self.ready.len() >= SECTIONS_MAX || self.letters_bytes >= LETTERS_BYTES_MAX
    }

    fn ticks(&self, now: Millis) -> bool {
        now - self.ticked_ms >= TICK_MS && !self.at_end.is_empty()
    }

    fn has_open(&self, now: Millis) -> bool {
        !self.ready.is_empty()
            || !self.dead_letters.is_empty()
            || self.ticks(now)
            || self.topics.keys().any(|source| self.folder.has_open(source))
    }

    /// Everything that is open, whether it is due or not.
    pub fn close(&mut self, now: Millis) -> std::result::Result<Option<Transaction>, StageError> {
        if self.silent.is_empty() && !self.has_open(now) {
            return Ok(None);
        }
        let tick = self.ticks(now);
        self.flushed_ms = now;
        self.letters_bytes = 0;
        let mut folded = std::mem::take(&mut self.ready);
        let mut offsets = Vec::new();
        for (source, topic) in &self.topics {
            let end_at_ms = self.at_end.get(source).copied();
            if (self.folder.has_open(source) || self.silent.contains(source) || (end_at_ms.is_some() && tick))
                && let Some(mut last) = self.folder.close(source)?
            {
                last.section.end_at_ms = end_at_ms;
                folded.push(last);
            }
            if let Some(position) = self.folder.position(source) {
                offsets.push((topic.clone(), source.partition, position));
            }
        }
        if tick {
            self.ticked_ms = now;
        }
        self.silent.clear();
        let mut transaction = Transaction {
            dead_letters: std::mem::take(&mut self.dead_letters),
            offsets,
            events: std::mem::take(&mut self.events),
            records: Vec::new(),
        };
        self.encode(&folded, &mut transaction.records)?;
        Ok(Some(transaction))
    }

    /// Writes sections as records for every partials partition; too large a record is cut between sections.
    fn encode(&self, folded: &[Folded], records: &mut Vec<(i32, Vec<u8>)>) -> std::result::Result<(), StageError> {
        if folded.is_empty() {
            return Ok(());
        }
        let mut encoded = Vec::new();
        for sections in self.folder.spread(folded, self.partials_partitions)? {
            let partition = sections.partition;
            encoded.push((partition, Record::Sections(sections).encode(self.format)?));
        }
        if folded.len() > 1 && encoded.iter().any(|(_, bytes)| bytes.len() > self.record_bytes_max) {
            let (first, second) = folded.split_at(folded.len() / 2);
            self.encode(first, records)?;
            return self.encode(second, records);
        }
        records.extend(encoded);
        Ok(())
    }
}

fn dead_letter(topic: &str, partition: i32, message: &Message<'_>, reason: &'static str, detail: String) -> DeadLetter {
    let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let first = |bytes: Option<&[u8]>, most: usize| bytes.map(|bytes| bytes[..bytes.len().min(most)].to_vec());
    let mut left = DEAD_LETTER_HEADERS_MAX;
    let headers = message.headers.iter().map_while(|(name, value)| {
        left = left.checked_sub(name.len() + length(*value))?;
        Some((name.clone().into_owned(), value.map(<[u8]>::to_vec)))
    });
    let headers: Vec<_> = headers.collect();
    let bytes = length(message.payload);
    let too_long = bytes > DEAD_LETTER_BYTES_MAX;
    let cut = [
        ("key", length(message.key) > DEAD_LETTER_KEY_MAX),
        ("headers", headers.len() < message.headers.len()),
        ("payload", too_long),
    ];
    DeadLetter {
        topic: topic.to_owned(),
        partition,
        offset: message.offset,
        timestamp: message.timestamp,
        reason,
        detail,
        key: first(message.key, DEAD_LETTER_KEY_MAX),
        payload: first(message.payload, DEAD_LETTER_BYTES_MAX),
        bytes,
        sha256: message.payload.filter(|_| too_long).map(crate::rules::hash_bytes),
        headers,
        cut: cut.into_iter().filter(|(_, cut)| *cut).map(|(what, _)| what).collect(),
    }
}
