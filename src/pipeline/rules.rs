//! The rule set enters by a record in the log: the set in force is the last record of the rules topic, and every
//! partials partition gets it before the first section made under it.

use std::sync::Arc;

use rdkafka::{Message, TopicPartitionList};

use super::{Context, Error, clock, retry};
use crate::{
    kafka::{
        consumer::read_all,
        transaction::{Outgoing, Transactions},
    },
    partial::{Record, RuleSetRecord, open},
    rules::RuleSet,
};

/// Appends this instance's rule set where it is not in force, or takes the one in force where that is newer. Notes in
/// the context when the first rule set of all was written.
pub(super) fn announce(context: &mut Context) -> Result<(), Error> {
    let topics = &context.config.topics;
    let mut last: Option<RuleSetRecord> = None;
    retry(context, "the rules topic cannot be read", || {
        read_all(&context.client, &topics.rules, 0, |message| {
            last = message
                .payload()
                .and_then(|payload| open::<RuleSetRecord>(payload).ok())
                .map(|(record, _)| record)
                .or(last.take());
            Ok(())
        })
    })?;
    let config = Arc::clone(&context.config);
    let newest_ms = crate::files::newest(&[&config.rules.path, &config.rules.reference, &config.tables.path]);
    if let Some(last) = &last {
        context.began_ms = last.began_ms;
        if last.hash == context.set.hash {
            tracing::info!(hash = last.hash, number = last.number, "the rule set is in force");
            return Ok(());
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
            context.set = Arc::new(set);
            return Ok(());
        }
    }
    let number = last.as_ref().map_or(1, |last| last.number + 1);
    let began_ms = last.map_or_else(clock::now, |last| last.began_ms);
    context.began_ms = began_ms;
    let commit = crate::files::commit(&context.config.rules.path);
    let record = RuleSetRecord::new(
        number,
        &context.set.hash,
        commit,
        topics.partitions,
        (began_ms, newest_ms),
        context.set.settings,
        &context.set.files,
    );
    let mut records = vec![Outgoing {
        topic: topics.rules.clone(),
        partition: Some(0),
        key: Some(b"rules".to_vec()),
        value: Some(crate::partial::envelope(&record, &[])),
        headers: Vec::new(),
    }];
    let encoded = Record::RuleSet(record.clone()).encode().map_err(crate::fold::stage::StageError::Format)?;
    for partition in 0..topics.partitions {
        records.push(Outgoing {
            topic: topics.partials.clone(),
            partition: Some(partition),
            key: None,
            value: Some(encoded.clone()),
            headers: Vec::new(),
        });
    }
    let mut audit = serde_json::json!({"what": "rule_set", "number": number, "hash": record.hash, "rules": context.set.rules.len()});
    audit["commit"] = serde_json::json!(record.commit);
    records.push(Outgoing {
        topic: topics.audit.clone(),
        partition: Some(0),
        key: None,
        value: Some(audit.to_string().into_bytes()),
        headers: Vec::new(),
    });
    let id = format!("{}.rules.{}", context.config.kafka.group, context.instance);
    let mut transactions = Transactions::new(&context.client, &id, context.config.kafka.transaction_timeout);
    retry(context, "the rule set cannot be written", || {
        transactions.write(&records, &TopicPartitionList::new(), None)
    })?;
    tracing::info!(hash = record.hash, number, rules = context.set.rules.len(), "the rule set was written to the log");
    Ok(())
}
