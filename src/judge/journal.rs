//! What the state topic holds of a judge partition: a journal of its transactions, and snapshots that make the older part
//! of it needless.
//!
//! What was published binds. Each transaction of outputs writes one *entry* with them: the position it came to, the
//! levels and episodes that changed, the readings that are needed again, and the outputs themselves. Entries are
//! numbered and each names the one it follows, so that one that vanished, or that somebody wrote who was no longer the
//! owner, is noticed: recovery takes the longest unbroken line and leaves the rest.
//!
//! *Snapshots* go to two slots in turn, in parts where they are large, over several transactions; a *manifest* comes
//! last. Any of those transactions may vanish from this topic alone, so a snapshot counts only once its owner has read it
//! again: until then the other slot is not touched. An entry is kept until it is older than both.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Fenced,
    breadcrumb::{self, Breadcrumb},
    chain::Need,
    memory::Remembered,
    output::BreachEvent,
    series::SeriesState,
    sources::Sources,
};
use crate::{
    panes::{Millis, is_time},
    partial::{FormatError, RecordFormat, envelope, open},
    rules::hash_bytes,
};

const JOURNAL: &str = "journal\u{1f}";
const SNAPSHOT: &str = "snapshot\u{1f}";
const MANIFEST: &str = "manifest\u{1f}";

/// The number and the id of an entry.
type Name = (u64, String);

/// A part of an entry: how many there are, its key, and its bytes.
type Part = (usize, String, Vec<u8>);

/// A record of the state topic: its key, and its value or a tombstone.
pub type StateRecord = (String, Option<Vec<u8>>);

/// Dead letters that a section speaks of: what holds them may have vanished although the section did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// The source topic.
    pub topic: String,
    /// The positions, as they would be folded again.
    pub of: Need,
    /// How many dead letters are among them.
    pub letters: u32,
    /// When the section was appended.
    pub append_ms: Millis,
}

/// What a transaction of a judge partition leaves behind.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Numbers, ordinals and small things.
    pub header: EntryHeader,
    /// Blocks of readings that it wrote, or that are not known to have arrived.
    pub blocks: Vec<Vec<u8>>,
    /// Readings that are needed again.
    pub remembered: Vec<Remembered>,
}

/// The part of an entry that is JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EntryHeader {
    /// Which transaction of the partition it is.
    pub number: u64,
    /// Its name; no two owners give the same.
    pub id: String,
    /// The name of the entry it follows.
    pub after: String,
    /// The position in the partials log after the last record whose outputs it holds.
    pub position: i64,
    /// How many readings records there were.
    pub readings: u64,
    /// How many breach events there were.
    pub alerts: u64,
    /// From where on it is not known which outputs arrived: positions in the readings and the alerts topic.
    pub unchecked: (i64, i64),
    /// Rules that failed, and why: replay evaluates nothing, so it would not find out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fenced: BTreeMap<String, Fenced>,
    /// Rules of which an older version judges still, and the number of the set that it comes from: replay does not see what
    /// made the next one take over.
    #[serde(default)]
    pub judging: BTreeMap<String, u64>,
    /// Rules that have more series than they may, and since when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overflowing: BTreeMap<String, Millis>,
    /// What was told of source partitions and is not over.
    #[serde(default, skip_serializing_if = "Sources::is_empty")]
    pub sources: Sources,
    /// Since when rules have had whole windows, for those who read their readings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub whole_from: BTreeMap<String, Millis>,
    /// The next window of each rule: replay does not see the readings that some rules begin with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub next_ends: BTreeMap<String, Millis>,
    /// The window of each rule that was closed last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub closed_ends: BTreeMap<String, Millis>,
    /// The first window of each rule that may be corrected, where another version closed those before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub corrected_from: BTreeMap<String, Millis>,
    /// Since when folds over readings were given them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fed_from: BTreeMap<String, Millis>,
    /// Whether time has passed windows that were not closed yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// The series that changed: rule, series, and what is known of it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<(String, String, Option<SeriesState>)>,
    /// Breach events with their ordinals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<(u64, BreachEvent)>,
    /// Dead letters that are not known to have arrived.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub letters: Vec<Owed>,
    /// The lengths of the blocks that follow, and of the readings after them.
    pub(super) blobs: (Vec<usize>, Vec<usize>),
}

impl Entry {
    /// As bytes in a format.
    pub fn encode(&self, format: RecordFormat) -> Result<Vec<u8>, FormatError> {
        let mut remembered = Vec::new();
        for one in &self.remembered {
            remembered.push(one.encode(format)?);
        }
        let mut header = self.header.clone();
        header.blobs = (self.blocks.iter().map(Vec::len).collect(), remembered.iter().map(Vec::len).collect());
        let blobs: Vec<Vec<u8>> = self.blocks.iter().cloned().chain(remembered).collect();
        Ok(envelope(format, &header, &blobs))
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let (mut header, mut rest) = open::<EntryHeader>(bytes)?;
        if header.position < 0
            || header.number == u64::MAX
            || !header.next_ends.values().chain(header.closed_ends.values()).all(|end| is_time(*end))
        {
            return Err(FormatError::Damaged("a position or a time is none".into()));
        }
        let (blocks, remembered) = std::mem::take(&mut header.blobs);
        let mut next = |length: usize| {
            let cut = rest.split_at_checked(length).ok_or_else(|| FormatError::Damaged("it is cut short".into()))?;
            rest = cut.1;
            Ok(cut.0)
        };
        let blocks = blocks.into_iter().map(|length| next(length).map(<[u8]>::to_vec)).collect::<Result<_, _>>()?;
        let remembered =
            remembered.into_iter().map(|length| Remembered::decode(next(length)?)).collect::<Result<_, _>>()?;
        Ok(Self { header, blocks, remembered })
    }

    /// Its records in the state topic, each of up to so many bytes.
    pub fn records(&self, format: RecordFormat, part_bytes_max: usize) -> Result<Vec<StateRecord>, FormatError> {
        let bytes = self.encode(format)?;
        let parts: Vec<&[u8]> = bytes.chunks(part_bytes_max).collect();
        let (number, id, count) = (self.header.number, &self.header.id, parts.len());
        let record = |(at, part): (usize, &[u8])| {
            (format!("{JOURNAL}{number:020}\u{1f}{id}\u{1f}{at}\u{1f}{count}"), Some(part.to_vec()))
        };
        Ok(parts.into_iter().enumerate().map(record).collect())
    }
}

/// What makes a snapshot whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    /// The number of the entry that it was taken after.
    number: u64,
    parts: u32,
    sha256: String,
    /// Whether no snapshot was known to be whole when this one was begun: nothing was cleared away before, so that without it
    /// there is a beginning.
    #[serde(default)]
    first: bool,
}

/// A snapshot that is being written, a part at a time.
#[derive(Debug)]
struct Writing {
    format: RecordFormat,
    slot: u8,
    number: u64,
    sha256: String,
    first: bool,
    parts: Vec<Vec<u8>>,
    next: usize,
}

/// The journal as its owner writes it.
#[derive(Debug, Default)]
pub struct Journal {
    /// The keys of entries that are still there, by number.
    keys: BTreeMap<u64, Vec<String>>,
    /// Keys that recovery found and left out.
    stale: Vec<String>,
    /// The number of the snapshot in each slot, where it is known to be whole.
    slots: [Option<u64>; 2],
    writing: Option<Writing>,
    /// The snapshot that was written and not read since: its slot and its hash.
    written: Option<(u8, u64, String)>,
}

impl Journal {
    /// Notes the records of an entry that is being written.
    pub fn wrote(&mut self, number: u64, records: &[StateRecord]) {
        self.keys.entry(number).or_default().extend(records.iter().map(|(key, _)| key.clone()));
    }

    /// True while a snapshot is being written.
    pub fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// True where a snapshot was written of which nobody knows whether it is whole.
    pub fn is_unconfirmed(&self) -> bool {
        self.written.is_some()
    }

    /// Says what the state topic holds of the snapshot that was written last. Where it is whole, what is older than both is
    /// needless; where it is not, its slot is written anew. Answers whether it is whole.
    pub fn confirm(&mut self, recorded: &Recorded) -> bool {
        let Some((slot, number, sha256)) = self.written.take() else { return true };
        if !recorded.is_whole(slot, &sha256) {
            return false;
        }
        self.slots[usize::from(slot)] = Some(number);
        // The older of both may still be needed, and so may everything since.
        if let [Some(one), Some(other)] = self.slots {
            let kept = self.keys.split_off(&(one.min(other) + 1));
            self.stale.extend(std::mem::replace(&mut self.keys, kept).into_values().flatten());
        }
        true
    }

    /// Begins to write a snapshot, in parts of up to so many bytes: what was known after an entry, and the state of the judge.
    pub fn begin_snapshot(
        &mut self,
        format: RecordFormat,
        entry: &Entry,
        judge: &[u8],
        part_bytes_max: usize,
    ) -> Result<(), FormatError> {
        let entry_bytes = entry.encode(format)?;
        let mut bytes = u64::try_from(entry_bytes.len()).unwrap_or(u64::MAX).to_le_bytes().to_vec();
        bytes.extend(entry_bytes);
        bytes.extend(judge);
        let slot = u8::from(self.slots[0] > self.slots[1]);
        self.slots[usize::from(slot)] = None;
        self.written = None;
        let parts = bytes.chunks(part_bytes_max).map(<[u8]>::to_vec).collect();
        let sha256 = hash_bytes(&bytes);
        let first = self.slots == [None; 2];
        self.writing = Some(Writing { format, slot, number: entry.header.number, sha256, first, parts, next: 0 });
        Ok(())
    }

    /// The records that go with the next transaction: a part of the snapshot, and tombstones of what is needless. The
    /// last transaction takes all parts that are left.
    pub fn next(&mut self, last: bool) -> Vec<StateRecord> {
        let mut records = self.part();
        while last && self.is_writing() {
            records.extend(self.part());
        }
        records
    }

    fn part(&mut self) -> Vec<StateRecord> {
        let mut records: Vec<StateRecord> =
            std::mem::take(&mut self.stale).into_iter().map(|key| (key, None)).collect();
        let Some(writing) = &mut self.writing else { return records };
        let part = std::mem::take(&mut writing.parts[writing.next]);
        records.push((format!("{SNAPSHOT}{}\u{1f}{}", writing.slot, writing.next), Some(part)));
        writing.next += 1;
        if writing.next == writing.parts.len()
            && let Some(written) = self.writing.take()
        {
            let parts = u32::try_from(written.parts.len()).unwrap_or(u32::MAX);
            let (number, sha256, first) = (written.number, written.sha256.clone(), written.first);
            let manifest = Manifest { number, parts, sha256, first };
            records.push((format!("{MANIFEST}{}", written.slot), Some(envelope(written.format, &manifest, &[]))));
            self.written = Some((written.slot, written.number, written.sha256));
        }
        records
    }
}

/// Why the state of a partition cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A record's form.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// There was a whole snapshot and is none now, and the entries do not reach back to the beginning.
    #[error(
        "none of its snapshots is whole: records of the state topic were lost; put them back, or give topics.prefix another value to begin anew"
    )]
    NoSnapshot,
}

/// The state records of one partition, as recovery reads them.
#[derive(Debug, Default)]
pub struct Recorded {
    manifests: BTreeMap<u8, Vec<u8>>,
    parts: BTreeMap<(u8, u32), Vec<u8>>,
    entries: BTreeMap<Name, BTreeMap<usize, Part>>,
    /// What the owner before left behind.
    pub(super) breadcrumb: Option<Breadcrumb>,
}

/// What recovery begins with.
#[derive(Debug, Default)]
pub struct Restored {
    /// What was known when the snapshot was taken, and the state of the judge; `None` where there is no snapshot.
    pub snapshot: Option<(Entry, Vec<u8>)>,
    /// The entries since, in order.
    pub entries: Vec<Entry>,
    /// How many entries were left out: they follow one that is not there.
    pub left_out: usize,
    /// To go on writing with.
    pub journal: Journal,
}

impl Recorded {
    /// Takes one record of the state topic, in order.
    pub fn take(&mut self, key: &str, value: Option<&[u8]>) {
        let mut words = key.split('\u{1f}').skip(1);
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<usize>().ok());
        if key == breadcrumb::KEY {
            self.breadcrumb = Breadcrumb::of_record(value);
        } else if key.starts_with(MANIFEST) {
            let Some(slot) = number(words.next()).and_then(|slot| u8::try_from(slot).ok()) else { return };
            match value {
                Some(value) => _ = self.manifests.insert(slot, value.to_vec()),
                None => _ = self.manifests.remove(&slot),
            }
        } else if key.starts_with(SNAPSHOT) {
            let slot = number(words.next()).and_then(|slot| u8::try_from(slot).ok());
            let part = number(words.next()).and_then(|part| u32::try_from(part).ok());
            if let (Some(slot), Some(part)) = (slot, part) {
                self.parts.insert((slot, part), value.unwrap_or_default().to_vec());
            }
        } else if key.starts_with(JOURNAL) {
            let entry = words.next().and_then(|number| number.parse::<u64>().ok());
            let (Some(entry), Some(id)) = (entry, words.next()) else { return };
            let (Some(part), Some(parts)) = (number(words.next()), number(words.next())) else { return };
            let place = (entry, id.to_owned());
            match value {
                Some(value) => {
                    self.entries.entry(place).or_default().insert(part, (parts, key.to_owned(), value.to_vec()));
                }
                None => _ = self.entries.remove(&place),
            }
        }
    }

    /// True where a slot holds the whole snapshot of that hash.
    fn is_whole(&self, slot: u8, sha256: &str) -> bool {
        let of_hash =
            |manifest: &Vec<u8>| open::<Manifest>(manifest).is_ok_and(|(manifest, _)| manifest.sha256 == sha256);
        self.manifests.get(&slot).is_some_and(of_hash) && matches!(self.snapshot(slot), Ok(Some(_)))
    }

    fn snapshot(&self, slot: u8) -> Result<Option<(Entry, Vec<u8>)>, FormatError> {
        let Some(manifest) = self.manifests.get(&slot) else { return Ok(None) };
        let (manifest, _) = open::<Manifest>(manifest)?;
        let mut bytes = Vec::new();
        for part in 0..manifest.parts {
            let Some(part) = self.parts.get(&(slot, part)) else { return Ok(None) };
            bytes.extend(part);
        }
        if hash_bytes(&bytes) != manifest.sha256 {
            return Ok(None);
        }
        let damaged = || FormatError::Damaged("a snapshot is cut short".into());
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| damaged())?;
        let (entry, judge) = rest.split_at_checked(length).ok_or_else(damaged)?;
        Ok(Some((Entry::decode(entry)?, judge.to_vec())))
    }

    /// Puts together what is whole: the newest whole snapshot and the longest unbroken line of entries since.
    pub fn restore(self) -> Result<Restored, JournalError> {
        let mut journal = Journal::default();
        let mut snapshot: Option<(Entry, Vec<u8>)> = None;
        for slot in 0..2_u8 {
            if let Some(found) = self.snapshot(slot)? {
                journal.slots[usize::from(slot)] = Some(found.0.header.number);
                if snapshot.as_ref().is_none_or(|(known, _)| known.header.number < found.0.header.number) {
                    snapshot = Some(found);
                }
            }
        }
        // Each line of entries, by its last one: the entry, its keys, and the one it follows.
        let mut found: BTreeMap<Name, (Entry, Vec<String>)> = BTreeMap::new();
        let mut stale = Vec::new();
        for (place, parts) in self.entries {
            let whole = parts.values().next().is_some_and(|(count, ..)| *count == parts.len());
            let (mut keys, mut bytes) = (Vec::new(), Vec::new());
            for (_, key, part) in parts.into_values() {
                keys.push(key);
                bytes.extend(part);
            }
            if whole {
                found.insert(place, (Entry::decode(&bytes)?, keys));
            } else {
                stale.extend(keys);
            }
        }
        let (base, base_id) =
            snapshot.as_ref().map_or((0, String::new()), |(entry, _)| (entry.header.number, entry.header.id.clone()));
        let reached = longest(&found, base, &base_id);
        if snapshot.is_none() && reached.is_empty() {
            for manifest in self.manifests.values() {
                if !open::<Manifest>(manifest)?.0.first {
                    return Err(JournalError::NoSnapshot);
                }
            }
        }
        let mut entries = Vec::new();
        let mut left_out = 0;
        for (place, (entry, keys)) in found {
            if reached.contains(&place) {
                journal.keys.entry(place.0).or_default().extend(keys);
                entries.push(entry);
            } else if place.0 <= base {
                // Older than the snapshot: kept for the other one.
                journal.keys.entry(place.0).or_default().extend(keys);
            } else {
                left_out += 1;
                stale.extend(keys);
            }
        }
        journal.stale = stale;
        Ok(Restored { snapshot, entries, left_out, journal })
    }
}

/// The longest unbroken line of entries after the one with the given number and name.
fn longest(found: &BTreeMap<Name, (Entry, Vec<String>)>, base: u64, base_id: &str) -> BTreeSet<Name> {
    // From the last to the first: of those that follow the same entry, the one with the most behind it.
    let mut best: BTreeMap<Name, (usize, Name)> = BTreeMap::new();
    for (name, (entry, _)) in found.iter().rev() {
        let behind = best.get(&(name.0 + 1, name.1.clone())).map_or(0, |(length, _)| *length);
        let followed = (name.0, entry.header.after.clone());
        if best.get(&followed).is_none_or(|(length, _)| *length <= behind) {
            best.insert(followed, (behind + 1, name.clone()));
        }
    }
    let mut line = BTreeSet::new();
    let mut at = (base + 1, base_id.to_owned());
    while let Some((_, name)) = best.get(&at) {
        line.insert(name.clone());
        at = (name.0 + 1, name.1.clone());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: usize = 1_000;

    fn entry(number: u64, id: &str, after: &str) -> Entry {
        let position = i64::try_from(number).unwrap() * 10;
        let header = EntryHeader { number, id: id.into(), after: after.into(), position, ..EntryHeader::default() };
        Entry { header, blocks: vec![vec![7; 3]], remembered: Vec::new() }
    }

    fn recorded(records: impl IntoIterator<Item = StateRecord>) -> Recorded {
        let mut recorded = Recorded::default();
        records.into_iter().for_each(|(key, value)| recorded.take(&key, value.as_deref()));
        recorded
    }

    fn ids(restored: &Restored) -> Vec<&str> {
        restored.entries.iter().map(|entry| entry.header.id.as_str()).collect()
    }

    #[test]
    fn the_longest_unbroken_line_is_taken_and_the_rest_is_cleared_away() {
        let lines = [("a", 1, ""), ("b", 2, "a"), ("z", 2, "y"), ("c", 3, "b"), ("x", 3, "z"), ("e", 5, "d")];
        let records = lines
            .iter()
            .flat_map(|(id, number, after)| entry(*number, id, after).records(RecordFormat::FIRST, PART).unwrap());
        let mut restored = recorded(records).restore().unwrap();
        assert_eq!(ids(&restored), ["a", "b", "c"]);
        assert_eq!((restored.left_out, restored.journal.next(false).len()), (3, 3));
        assert_eq!(restored.entries[0].blocks, [[7; 3]]);
    }

    #[test]
    fn snapshots_alternate_and_one_that_is_not_whole_is_passed_over() {
        let (mut journal, mut records, mut large) = (Journal::default(), Vec::new(), vec![0; PART + 5]);
        let mut after = String::new();
        for number in 1..=6 {
            let id = format!("e{number}");
            let next = entry(number, &id, &after);
            let own = next.records(RecordFormat::FIRST, PART).unwrap();
            journal.wrote(number, &own);
            records.extend(own);
            if !journal.is_writing() {
                large[0] = u8::try_from(number).unwrap();
                journal.begin_snapshot(RecordFormat::FIRST, &next, &large, PART).unwrap();
            }
            records.extend(journal.next(false));
            if journal.is_unconfirmed() {
                assert!(journal.confirm(&recorded(records.iter().cloned())));
            }
            after = id;
        }
        // Three were begun, at 1, 3 and 5, and each took two transactions.
        for (until, number, entries) in [(records.len(), 5, vec!["e6"]), (records.len() - 2, 3, vec!["e4", "e5", "e6"])]
        {
            let restored = recorded(records[..until].iter().cloned()).restore().unwrap();
            let (known, judge) = restored.snapshot.as_ref().unwrap();
            assert_eq!(
                (known.header.number, usize::from(judge[0]), judge.len()),
                (number, usize::try_from(number).unwrap(), large.len())
            );
            assert_eq!(ids(&restored), entries);
        }
        let broken = records.iter().map(|(key, value)| {
            let part = key.starts_with(SNAPSHOT) && value.as_ref().is_some_and(|value| value.len() < PART);
            (key.clone(), if part { Some(vec![1]) } else { value.clone() })
        });
        assert!(matches!(recorded(broken).restore(), Err(JournalError::NoSnapshot)));
    }

    #[test]
    fn a_first_snapshot_and_a_first_entry_that_both_vanish_leave_a_beginning() {
        let mut journal = Journal::default();
        let entries =
            ["", "e1", "e2"].into_iter().zip(1..).map(|(after, number)| entry(number, &format!("e{number}"), after));
        let mut records = Vec::new();
        for entry in entries {
            let own = entry.records(RecordFormat::FIRST, PART).unwrap();
            journal.wrote(entry.header.number, &own);
            if entry.header.number == 2 {
                journal.begin_snapshot(RecordFormat::FIRST, &entry, &[1; PART], PART).unwrap();
            }
            records.extend(own.into_iter().chain(journal.next(false)));
        }
        let vanished =
            |key: &str, first: bool| key.contains("e1") && first || key.starts_with("snapshot\u{1f}0\u{1f}0");
        let left = |first: bool| records.iter().filter(move |(key, _)| !vanished(key, first)).cloned();
        assert_eq!(ids(&recorded(left(false)).restore().unwrap()), ["e1", "e2", "e3"]);
        let restored = recorded(left(true)).restore().unwrap();
        assert!(restored.snapshot.is_none() && restored.entries.is_empty());
        assert_eq!(restored.left_out, 2);
    }

    #[test]
    fn a_snapshot_that_is_torn_does_not_count_and_the_other_one_stays() {
        let (mut journal, mut records) = (Journal::default(), Vec::new());
        let large = vec![1; PART + 5];
        for number in 1..=3 {
            let next = entry(
                number,
                &format!("e{number}"),
                &if number == 1 { String::new() } else { format!("e{}", number - 1) },
            );
            let own = next.records(RecordFormat::FIRST, PART).unwrap();
            journal.wrote(number, &own);
            records.extend(own);
            journal.begin_snapshot(RecordFormat::FIRST, &next, &large, PART).unwrap();
            let slot = journal.writing.as_ref().unwrap().slot;
            assert_eq!(slot, [0, 1, 1][usize::try_from(number).unwrap() - 1], "the one that is whole is not touched");
            let first = journal.next(false);
            // The transaction of the first part of the second snapshot vanishes.
            records.extend(first.into_iter().filter(|_| number != 2));
            records.extend(journal.next(false));
            let state = recorded(records.iter().cloned());
            assert_eq!(journal.confirm(&state), number != 2);
            let restored = state.restore().unwrap();
            assert_eq!(restored.snapshot.unwrap().0.header.number, [1, 1, 3][usize::try_from(number).unwrap() - 1]);
        }
    }
}
