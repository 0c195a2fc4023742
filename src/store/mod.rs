//! STORE: readings and breaches into ClickHouse, or Parquet files where there is none. Apart from JUDGE, so that a
//! store that is slow or down delays nothing but itself.

pub mod clickhouse;
pub mod migrate;
pub mod parquet;
pub mod stage;

use std::sync::Arc;

use arrow::{
    array::{Float64Array, Int32Array, Int64Array, RecordBatch, UInt32Array, UInt64Array},
    error::ArrowError,
};

use crate::{
    columns::{block, number_maps, text_lists, text_maps, texts, times},
    judge::output::{BreachEvent, plain},
    panes::Millis,
    rules::series::canonical,
    time::parse_rfc3339,
};

/// A breach event with its place in the log.
#[derive(Debug, Clone)]
pub struct StoredBreach {
    /// The event.
    pub event: BreachEvent,
    /// The judge partition.
    pub partition: i32,
    /// What replaces what.
    pub version: u64,
}

/// How far a rule has closed its windows in one judge partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredProgress {
    /// The rule.
    pub rule: String,
    /// The judge partition.
    pub partition: i32,
    /// How many partitions evaluate the rule.
    pub partitions: i32,
    /// Every window that ends here or earlier is in the log before this.
    pub watermark: Millis,
    /// What replaces what.
    pub version: u64,
}

/// Breach events as one block.
pub fn breaches_batch(breaches: &[StoredBreach]) -> Result<RecordBatch, ArrowError> {
    let text = |f: fn(&BreachEvent) -> String| texts(breaches.iter().map(|b| f(&b.event)));
    let time =
        |f: fn(&BreachEvent) -> &str| times(breaches.iter().map(|b| parse_rfc3339(f(&b.event)).unwrap_or_default()));
    let keys = |b: &StoredBreach| b.event.series.iter().map(|(name, value)| (name.clone(), plain(value))).collect();
    let labels = |b: &StoredBreach| b.event.labels.clone().into_iter().collect();
    let measures = |b: &StoredBreach| -> Vec<(String, f64)> {
        b.event.measures.iter().filter_map(|(name, value)| Some((name.clone(), value.as_ref()?.as_f64()))).collect()
    };
    block(vec![
        ("event_id", text(|e| e.id.clone())),
        ("episode_id", text(|e| e.episode.clone())),
        ("type", text(|e| e.happened.name().into())),
        ("ordinal", Arc::new(breaches.iter().map(|b| Some(b.event.ordinal)).collect::<UInt32Array>())),
        ("rule", text(|e| e.rule.clone())),
        ("rule_version", text(|e| e.rule_version.clone())),
        ("title", text(|e| e.title.clone())),
        ("tier", text(|e| e.tier.clone())),
        ("kind", text(|e| e.kind.clone())),
        ("owner", text(|e| e.owner.clone())),
        ("series", text(|e| canonical(e.series.clone()))),
        ("series_columns", text_maps(breaches.iter().map(keys))?),
        ("level", text(|e| e.level.name().into())),
        ("previous_level", text(|e| e.previous_level.name().into())),
        ("value", Arc::new(breaches.iter().map(|b| b.event.value).collect::<Float64Array>())),
        ("unit", text(|e| e.unit.clone())),
        ("limit_crossed", text(|e| e.limit.clone())),
        ("samples", Arc::new(breaches.iter().map(|b| b.event.samples).collect::<Int64Array>())),
        ("window_start", time(|e| &e.window_start)),
        ("window_end", time(|e| &e.window_end)),
        ("since", time(|e| &e.since)),
        ("reason", text(|e| e.reason.clone())),
        ("summary", text(|e| e.summary.clone())),
        ("description", text(|e| e.description.clone())),
        ("runbook_url", text(|e| e.runbook_url.clone())),
        ("offending", Arc::new(breaches.iter().map(|b| b.event.offending).collect::<Int64Array>())),
        ("contributors", text(|e| serde_json::to_string(&e.contributors).unwrap_or_default())),
        ("trace_ids", text_lists(breaches.iter().map(|b| b.event.trace_ids.clone()))),
        ("measures", number_maps(breaches.iter().map(measures))?),
        ("labels", text_maps(breaches.iter().map(labels))?),
        ("partition", Arc::new(breaches.iter().map(|b| Some(b.partition)).collect::<Int32Array>())),
        ("version", Arc::new(breaches.iter().map(|b| Some(b.version)).collect::<UInt64Array>())),
    ])
}

/// Progress as one block.
pub fn progress_batch(progress: &[StoredProgress]) -> Result<RecordBatch, ArrowError> {
    block(vec![
        ("rule", texts(progress.iter().map(|p| p.rule.clone()))),
        ("partitions", Arc::new(progress.iter().map(|p| Some(p.partitions)).collect::<Int32Array>())),
        ("partition", Arc::new(progress.iter().map(|p| Some(p.partition)).collect::<Int32Array>())),
        ("watermark", times(progress.iter().map(|p| p.watermark))),
        ("version", Arc::new(progress.iter().map(|p| Some(p.version)).collect::<UInt64Array>())),
    ])
}
