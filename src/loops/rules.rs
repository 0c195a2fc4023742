//! How a rule set enters the log: the set in force is the last one in the rules topic, and every partials partition gets
//! it before the first section made under it.

use std::{sync::Arc, time::Duration};

use super::{Edge, EdgeError, Error, Job, Outgoing};
use crate::{
    panes::Millis,
    partial::{Record, RuleSetRecord, open},
    rules::RuleSet,
};

/// Where the rules of this instance come from.
#[derive(Debug, Clone, Default)]
pub struct Provenance {
    /// When the newest of the files was written.
    pub newest_ms: Millis,
    /// The Git commit, where they lie in Git.
    pub commit: Option<String>,
}

/// The rule set in force: the last one in the rules topic.
pub(super) async fn last(job: &Job, edge: &mut impl Edge) -> Result<Option<RuleSetRecord>, EdgeError> {
    let mut last: Option<RuleSetRecord> = None;
    edge.read(&(job.config.topics.rules.clone(), 0), super::from(0), &mut |message| {
        let record = message.payload.and_then(|payload| open::<RuleSetRecord>(payload).ok());
        last = record.map(|(record, _)| record).or(last.take());
    })
    .await?;
    Ok(last)
}

/// How often it is tried to append a rule set.
const TRIES: u32 = 20;
/// The pause after the first try that failed; after each further one it is longer by this.
const PAUSE: Duration = Duration::from_millis(50);

/// Appends this instance's rule set where it is not in force, or takes the one in force where that is newer. Notes in
/// the job when the first rule set of all was written.
pub async fn announce(job: &mut Job, provenance: &Provenance, edge: &mut impl Edge) -> Result<(), Error> {
    // Instances that start together fence each other: whoever did not come last looks again.
    for tried in 1..TRIES {
        let Err(error) = attempt(job, provenance, edge).await? else { return Ok(()) };
        if edge.ending() {
            return Err(error.into());
        }
        tracing::warn!(%error, "the rule set could not be written; looking again at the one in force");
        // Not all at the same time again.
        let own = Duration::from_millis(job.instance.bytes().map(u64::from).sum::<u64>() % 64);
        edge.pause(PAUSE * tried + own).await;
    }
    Ok(attempt(job, provenance, edge).await??)
}

/// One try; the inner error is that of the transaction, of which nobody knows whether it was written.
async fn attempt(job: &mut Job, provenance: &Provenance, edge: &mut impl Edge) -> Result<Result<(), EdgeError>, Error> {
    let topics = job.config.topics.clone();
    // Who is ready last is the only one who may write: two that find the same set in force don't both follow it.
    edge.ready().await?;
    let last = last(job, edge).await?;
    let newest_ms = provenance.newest_ms;
    if let Some(last) = &last {
        job.began_ms = last.began_ms;
        job.number = last.number;
        if last.hash == job.set.hash {
            tracing::info!(hash = last.hash, number = last.number, "the rule set is in force");
            return Ok(Ok(()));
        }
        if last.newest_ms > newest_ms {
            tracing::warn!(
                hash = last.hash,
                number = last.number,
                "the rule set in force is newer than these files; going on with that one"
            );
            let (set, problems) = RuleSet::compile(last.files(), last.settings);
            if RuleSet::broken(&problems) {
                return Err(Error::NewerRules(last.hash.clone()));
            }
            job.set = Arc::new(set);
            return Ok(Ok(()));
        }
    }
    let number = last.as_ref().map_or(1, |last| last.number + 1);
    let began_ms = last.map_or_else(|| edge.now(), |last| last.began_ms);
    job.began_ms = began_ms;
    job.number = number;
    let record = RuleSetRecord::new(
        number,
        &job.set.hash,
        provenance.commit.clone(),
        topics.partitions,
        (began_ms, newest_ms),
        job.set.settings,
        &job.set.files,
    );
    let mut records = vec![Outgoing {
        topic: topics.rules.clone(),
        partition: Some(0),
        key: Some(b"rules".to_vec()),
        value: Some(crate::partial::envelope(&record, &[])),
        headers: Vec::new(),
    }];
    let encoded = Record::RuleSet(record.clone()).encode()?;
    for partition in 0..topics.partitions {
        records.push(Outgoing {
            topic: topics.partials.clone(),
            partition: Some(partition),
            value: Some(encoded.clone()),
            ..Outgoing::default()
        });
    }
    let mut audit =
        serde_json::json!({"what": "rule_set", "number": number, "hash": record.hash, "rules": job.set.rules.len()});
    audit["commit"] = serde_json::json!(record.commit);
    records.push(Outgoing {
        topic: topics.audit.clone(),
        partition: Some(0),
        value: Some(audit.to_string().into_bytes()),
        ..Outgoing::default()
    });
    if let Err(error) = edge.publish(&records).await {
        return Ok(Err(error));
    }
    tracing::info!(hash = record.hash, number, rules = job.set.rules.len(), "the rule set was written to the log");
    Ok(Ok(()))
}
