//! How rule sets enter the log, and who learns of them how.
//!
//! The set in force is the last one in the rules topic; every partials partition gets it before the first section made
//! under it. An instance that sees newer files appends them. FOLD computes the folds of every set that some partials
//! partition still needs, and JUDGE says in the same topic which those are.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Edge, Error, Job, Outgoing, audit, ms};
use crate::{
    panes::Millis,
    partial::{FormatError, Record, RecordFormat, RuleSetRecord, envelope, open},
    rules::{
        Files, RuleSet,
        diagnostics::{Diagnostic, Severity},
    },
};

const SET: &str = "set\u{1f}";
const NEEDS: &str = "needs\u{1f}";
/// What every topic takes in one record.
const RECORD_BYTES_LEAST: usize = 1 << 20;
/// How many problems of a refused set are published.
const PROBLEMS_MAX: usize = 20;

/// Where the rules of this instance come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// When the Git commit was made, or where they are not as they are in one, when the newest of the files was written.
    pub newest_ms: Millis,
    /// The Git commit, where they lie in Git; with `-dirty` where they are not as they are in it.
    pub commit: Option<String>,
}

/// What the rules topic says.
#[derive(Debug, Default)]
pub struct Sets {
    records: BTreeMap<u64, RuleSetRecord>,
    /// From which set on each partials partition needs folds.
    needs: BTreeMap<i32, u64>,
    /// Why a set cannot be read, where a later binary wrote it: nobody goes on as if it were not there.
    later: Option<FormatError>,
}

impl Sets {
    /// Takes one record of the rules topic, in order. What is not of its kind is passed over.
    pub fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) {
        let key = String::from_utf8_lossy(key.unwrap_or_default());
        if let Some(number) = key.strip_prefix(SET).and_then(|number| number.parse().ok()) {
            match value.map(open::<RuleSetRecord>) {
                Some(Ok((record, _))) => _ = self.records.insert(number, record),
                Some(Err(error @ FormatError::Version(_))) => self.later = Some(error),
                Some(Err(_)) | None => _ = self.records.remove(&number),
            }
        } else if let Some(partition) = key.strip_prefix(NEEDS).and_then(|partition| partition.parse::<i32>().ok()) {
            let number = value.map(String::from_utf8_lossy).and_then(|number| number.parse::<u64>().ok());
            self.needs.extend(number.map(|number| (partition, number)));
        }
    }

    /// An error where a later binary wrote a set.
    pub fn check(&mut self) -> Result<(), Error> {
        self.later.take().map_or(Ok(()), |error| Err(error.into()))
    }

    /// The set in force.
    pub fn in_force(&self) -> Option<&RuleSetRecord> {
        self.records.last_key_value().map(|(_, record)| record)
    }

    /// The format that is written.
    pub fn format(&self) -> RecordFormat {
        self.in_force().map_or(RecordFormat::FIRST, |last| last.format)
    }

    /// The sets whose folds are needed, the one in force last. Where a partition needs those of a set that is not here (its
    /// record vanished from this topic alone), any of the others may be like it: all are computed until it needs another.
    pub fn needed(&self, partitions: i32) -> Vec<&RuleSetRecord> {
        let known = |number: &u64| self.records.contains_key(number);
        let from =
            (0..partitions).map(|partition| self.needs.get(&partition).copied().filter(known).unwrap_or(0)).min();
        self.records.range(from.unwrap_or(0)..).map(|(_, record)| record).collect()
    }
}

/// Reads the rules topic to its end.
pub(super) async fn read(job: &Job, edge: &mut impl Edge) -> Result<Sets, Error> {
    let mut sets = Sets::default();
    let place = (job.config.topics.rules.clone(), 0);
    edge.read(&place, super::from(0), &mut |message| sets.take(message.key, message.payload)).await?;
    sets.check()?;
    Ok(sets)
}

/// The note that a partials partition needs the folds of sets from this one on.
pub(super) fn needs(topic: &str, partition: i32, number: u64) -> Outgoing {
    Outgoing {
        topic: topic.to_owned(),
        partition: Some(0),
        key: Some(format!("{NEEDS}{partition}").into_bytes()),
        value: Some(number.to_string().into_bytes()),
        headers: Vec::new(),
    }
}

/// The record of a rule set for a partials partition.
pub(super) fn for_partition(topic: &str, partition: i32, record: &RuleSetRecord) -> Result<Outgoing, Error> {
    let value = Some(Record::RuleSet(record.clone()).encode(record.format)?);
    Ok(Outgoing { topic: topic.to_owned(), partition: Some(partition), value, ..Outgoing::default() })
}

/// Appends a rule set where it is not in force, unless the one in force is newer. Answers whether it was appended.
pub async fn announce(job: &Job, set: &RuleSet, provenance: &Provenance, edge: &mut impl Edge) -> Result<bool, Error> {
    let topics = &job.config.topics;
    // Who is ready last is the only one who may write: two that find the same set in force don't both follow it.
    edge.ready().await?;
    let sets = read(job, edge).await?;
    let last = sets.in_force();
    if let Some(last) = last {
        if last.hash == set.hash {
            tracing::info!(hash = last.hash, number = last.number, "the rule set is in force");
            return Ok(false);
        }
        if let Err(reason) = follows(job, last, set, provenance) {
            edge.publish(vec![refused(job, &set.hash, provenance, std::slice::from_ref(&reason))]).await?;
            tracing::warn!(reason, hash = last.hash, number = last.number, "going on with the rule set in force");
            return Ok(false);
        }
    }
    let now = edge.now();
    let began_ms = last.map_or(now, |last| last.began_ms);
    let times = (began_ms, provenance.newest_ms);
    // A topic that nobody has read yet begins now, whenever the first of all began.
    let (mut began, since) = match last {
        Some(last) if last.topics_began_ms.is_empty() => (BTreeMap::new(), last.began_ms),
        Some(last) => (last.topics_began_ms.clone(), now),
        None => (BTreeMap::new(), now),
    };
    super::fold::topics(set).into_keys().for_each(|topic| _ = began.entry(topic).or_insert(since));
    let commit = provenance.commit.clone();
    let number = next_number(now, last);
    let mut record = RuleSetRecord::new(number, &set.hash, commit, topics.partitions, times, set.settings, &set.files);
    // Where nothing was written yet there is nobody who could not read it.
    record.format = last.map_or(record.format, |last| last.format);
    record.topics_began_ms = began;
    let bytes = Record::RuleSet(record.clone()).encode(record.format)?.len();
    let most = topics.max_record_bytes.max(RECORD_BYTES_LEAST);
    if bytes > most {
        let reason = format!(
            "the rule set is {bytes} bytes long as a record, and records have at most {most}: raise topics.max_record_bytes and run \
             `tierwatch migrate`, or have fewer or shorter files"
        );
        edge.publish(vec![refused(job, &set.hash, provenance, std::slice::from_ref(&reason))]).await?;
        tracing::error!(reason, "changed rules are refused as a whole; the rules in force stay");
        return if last.is_some() { Ok(false) } else { Err(Error::NoRules) };
    }
    append(job, &sets, &record, edge).await?;
    tracing::info!(hash = record.hash, number, rules = set.rules.len(), "the rule set was written to the log");
    Ok(true)
}

/// Whether a set may follow the one in force; the error says why not.
fn follows(job: &Job, last: &RuleSetRecord, set: &RuleSet, provenance: &Provenance) -> Result<(), String> {
    let before = job.sets.get(&last.hash, || last.files(), last.settings);
    // Positions and time are kept by table and by topic: under another name they would be those of something else.
    if let Ok(before) = &before {
        let (before, now) = (super::fold::topics(before), super::fold::topics(set));
        for (topic, table) in &now {
            if let Some(known) = before.get(topic).filter(|known| *known != table) {
                return Err(format!(
                    "topic `{topic}` is read as table `{known}` by the rules in force, and as `{table}` by these: keep the name"
                ));
            }
            if let Some((known, _)) = before.iter().find(|(known, of)| *of == table && *known != topic) {
                return Err(format!(
                    "table `{table}` is topic `{known}` by the rules in force, and `{topic}` by these: give the table of the \
                     other topic a name of its own, and change the rules to it"
                ));
            }
        }
    }
    if (last.newest_ms, &last.hash) <= (provenance.newest_ms, &set.hash) {
        return Ok(());
    }
    // Of the same files with other settings, none is newer: whoever started last has the settings that are wanted.
    let same_files = || RuleSet::compile(last.files(), set.settings).0.hash == set.hash;
    if last.newest_ms == provenance.newest_ms && last.settings != set.settings && same_files() {
        return Ok(());
    }
    Err(format!("the rule set in force, number {}, is newer than these files: going back is a new commit", last.number))
}

/// The format that is written; none before the first rules.
pub async fn format(job: &Job, edge: &mut impl Edge) -> Result<Option<RecordFormat>, Error> {
    Ok(read(job, edge).await?.in_force().map(|last| last.format))
}

/// Says that every instance can read the newest format of this binary, which is written from here on.
pub async fn upgrade(job: &Job, edge: &mut impl Edge) -> Result<(), Error> {
    edge.ready().await?;
    let sets = read(job, edge).await?;
    let newest = RecordFormat::newest();
    let Some(last) = sets.in_force().filter(|last| last.format < newest) else { return Ok(()) };
    append(job, &sets, &last.upgraded(next_number(edge.now(), Some(last)), newest), edge).await
}

/// The number of the set that follows one. It grows with time, so that two sets differ even where the first has vanished
/// from this topic and not from others.
fn next_number(now: Millis, last: Option<&RuleSetRecord>) -> u64 {
    u64::try_from(now).unwrap_or_default().max(last.map_or(1, |last| last.number + 1))
}

/// Appends a rule set to the rules topic and to every partials partition.
async fn append(job: &Job, sets: &Sets, record: &RuleSetRecord, edge: &mut impl Edge) -> Result<(), Error> {
    let topics = &job.config.topics;
    let of_rules = |key: String, value: Option<Vec<u8>>| Outgoing {
        topic: topics.rules.clone(),
        partition: Some(0),
        key: Some(key.into_bytes()),
        value,
        headers: Vec::new(),
    };
    let number = record.number;
    let mut records = vec![of_rules(format!("{SET}{number:020}"), Some(envelope(record.format, record, &[])))];
    // What nobody needs any more is cleared away.
    let needed = sets.needed(topics.partitions).first().map_or(0, |record| record.number);
    records.extend(sets.records.range(..needed).map(|(number, _)| of_rules(format!("{SET}{number:020}"), None)));
    for partition in 0..topics.partitions {
        records.push(for_partition(&topics.partials, partition, record)?);
    }
    let said = serde_json::json!({
        "what": "rule_set", "number": number, "hash": record.hash, "rules": record.rules.len(), "commit": record.commit,
        "format": record.format, "instance": job.instance,
    });
    records.push(audit(job, &said));
    edge.publish(records).await?;
    // A transaction may vanish from this topic alone, and nobody would fold by the set.
    if read(job, edge).await?.in_force().is_none_or(|last| last.number < number) {
        return Err(Error::RulesVanished);
    }
    Ok(())
}

/// Watches the rule files of this instance. A set that has changed is checked as a whole: one that is right is appended,
/// one that is not changes nothing, and why is logged and published.
pub async fn watch(job: &Job, edge: &mut impl Edge) -> Result<(), Error> {
    let Some(interval) = job.config.rules.watch_interval else {
        while !edge.ending() {
            edge.pause(Duration::from_millis(50)).await;
        }
        return Ok(());
    };
    let mut next_ms = edge.now() + ms(interval);
    while !edge.ending() {
        edge.pause(Duration::from_millis(50)).await;
        if edge.now() < next_ms {
            continue;
        }
        next_ms = edge.now() + ms(interval);
        let (files, provenance) = match edge.changed_files().await {
            None => continue,
            Some(Err(error)) => {
                tracing::error!(error, "the rule files cannot be read; the rules in force stay");
                edge.look_again();
                continue;
            }
            Some(Ok(found)) => found,
        };
        if let Err(error) = consider(job, files, &provenance, edge).await {
            // Somebody else may have been faster, or the broker is away: it is looked at again with the next change,
            // and by whoever starts next.
            tracing::warn!(%error, "changed rules could not be appended; trying again");
            edge.look_again();
        }
    }
    Ok(())
}

/// The errors among findings, a line each.
pub fn errors(problems: &[Diagnostic]) -> Vec<String> {
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(|problem| format!("{}: {}", problem.source.path, problem.message)).collect()
}

async fn consider(job: &Job, files: Files, provenance: &Provenance, edge: &mut impl Edge) -> Result<(), Error> {
    let (set, problems) = RuleSet::compile(files, job.settings);
    let errors = errors(&problems);
    if errors.is_empty() {
        let set = Arc::new(set);
        job.sets.add(&set);
        return announce(job, &set, provenance, edge).await.map(|_| ());
    }
    for error in &errors {
        tracing::error!(error, "changed rules are refused as a whole; the rules in force stay");
    }
    edge.ready().await?;
    Ok(edge.publish(vec![refused(job, &set.hash, provenance, &errors)]).await?)
}

/// Goes on with the rules in force where the files that this instance starts with have errors. Where none are in force, that
/// is an error.
pub async fn refuse(
    job: &Job,
    hash: &str,
    provenance: &Provenance,
    errors: &[String],
    edge: &mut impl Edge,
) -> Result<(), Error> {
    edge.ready().await?;
    let Some(last) = read(job, edge).await?.in_force().map(|last| (last.number, last.hash.clone())) else {
        return Err(Error::NoRules);
    };
    tracing::error!(
        errors = errors.len(),
        number = last.0,
        hash = last.1,
        "the rule files have errors and are refused as a whole; going on with the rules in force"
    );
    Ok(edge.publish(vec![refused(job, hash, provenance, errors)]).await?)
}

/// What the audit has of a rule set that is not taken, and why.
fn refused(job: &Job, hash: &str, provenance: &Provenance, reasons: &[String]) -> Outgoing {
    let said = serde_json::json!({
        "what": "rule_set_refused", "hash": hash, "commit": provenance.commit, "instance": job.instance,
        "problems": reasons.iter().take(PROBLEMS_MAX).collect::<Vec<_>>(), "more": reasons.len().saturating_sub(PROBLEMS_MAX),
    });
    audit(job, &said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_a_later_binary_is_an_error_and_not_nothing() {
        let mut sets = Sets::default();
        let key = format!("{SET}{:020}", 7);
        let mut value = envelope(RecordFormat::newest(), &(), &[]);
        value[3] += 1;
        sets.take(Some(key.as_bytes()), Some(&value));
        let error = sets.check().expect_err("an error").to_string();
        assert!(error.contains("upgrade this instance"), "{error}");
        sets.take(Some(key.as_bytes()), None);
        assert!(sets.check().is_ok());
    }
}
