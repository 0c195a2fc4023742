//! STORE: readings and breaches into ClickHouse, or Parquet files where there is none. Apart from JUDGE, so that a
//! store that is slow or down delays nothing but itself.

pub mod clickhouse;
pub mod migrate;
pub mod parquet;
pub mod stage;

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, Float64Array, Float64Builder, Int32Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch,
        StringArray, StringBuilder, TimestampMillisecondArray, UInt32Array, UInt64Array,
    },
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};

use crate::{
    judge::output::{BreachEvent, Measure, canonical, plain},
    panes::Millis,
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

fn times(values: impl Iterator<Item = Millis>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<TimestampMillisecondArray>().with_timezone("UTC"))
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, ArrowError> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), ["value", "samples"].contains(name)))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect())
}

/// Breach events as one block.
pub fn breaches_batch(breaches: &[StoredBreach]) -> Result<RecordBatch, ArrowError> {
    let text = |f: &dyn Fn(&BreachEvent) -> String| -> ArrayRef {
        Arc::new(breaches.iter().map(|b| Some(f(&b.event))).collect::<StringArray>())
    };
    let time = |f: &dyn Fn(&BreachEvent) -> &str| {
        times(breaches.iter().map(|b| parse_rfc3339(f(&b.event)).unwrap_or_default()))
    };
    let names = || MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let texts = |f: &dyn Fn(&BreachEvent) -> Vec<(String, String)>| -> Result<ArrayRef, ArrowError> {
        let mut map = MapBuilder::new(Some(names()), StringBuilder::new(), StringBuilder::new())
            .with_values_field(Field::new("values", DataType::Utf8, false));
        for breach in breaches {
            for (name, value) in f(&breach.event) {
                map.keys().append_value(name);
                map.values().append_value(value);
            }
            map.append(true)?;
        }
        Ok(Arc::new(map.finish()))
    };
    let mut measures = MapBuilder::new(Some(names()), StringBuilder::new(), Float64Builder::new())
        .with_values_field(Field::new("values", DataType::Float64, false));
    for breach in breaches {
        for (name, value) in &breach.event.measures {
            if let Some(value) = value {
                measures.keys().append_value(name);
                measures.values().append_value(Measure::as_f64(*value));
            }
        }
        measures.append(true)?;
    }
    batch(vec![
        ("event_id", text(&|e| e.id.clone())),
        ("episode_id", text(&|e| e.episode.clone())),
        ("type", text(&|e| e.happened.name().into())),
        ("ordinal", Arc::new(breaches.iter().map(|b| Some(b.event.ordinal)).collect::<UInt32Array>())),
        ("rule", text(&|e| e.rule.clone())),
        ("rule_version", text(&|e| e.rule_version.clone())),
        ("title", text(&|e| e.title.clone())),
        ("tier", text(&|e| e.tier.clone())),
        ("kind", text(&|e| e.kind.clone())),
        ("owner", text(&|e| e.owner.clone())),
        ("series", text(&|e| canonical(e.series.clone()))),
        ("series_columns", texts(&|e| e.series.iter().map(|(name, value)| (name.clone(), plain(value))).collect())?),
        ("level", text(&|e| e.level.name().into())),
        ("previous_level", text(&|e| e.previous_level.name().into())),
        ("value", Arc::new(breaches.iter().map(|b| b.event.value).collect::<Float64Array>())),
        ("unit", text(&|e| e.unit.clone())),
        ("limit_crossed", text(&|e| e.limit.clone())),
        ("samples", Arc::new(breaches.iter().map(|b| b.event.samples).collect::<Int64Array>())),
        ("window_start", time(&|e| &e.window_start)),
        ("window_end", time(&|e| &e.window_end)),
        ("since", time(&|e| &e.since)),
        ("reason", text(&|e| e.reason.clone())),
        ("summary", text(&|e| e.summary.clone())),
        ("description", text(&|e| e.description.clone())),
        ("runbook_url", text(&|e| e.runbook_url.clone())),
        ("measures", Arc::new(measures.finish())),
        ("labels", texts(&|e| e.labels.clone().into_iter().collect())?),
        ("partition", Arc::new(breaches.iter().map(|b| Some(b.partition)).collect::<Int32Array>())),
        ("version", Arc::new(breaches.iter().map(|b| Some(b.version)).collect::<UInt64Array>())),
    ])
}

/// Progress as one block.
pub fn progress_batch(progress: &[StoredProgress]) -> Result<RecordBatch, ArrowError> {
    batch(vec![
        ("rule", Arc::new(progress.iter().map(|p| Some(p.rule.clone())).collect::<StringArray>())),
        ("partitions", Arc::new(progress.iter().map(|p| Some(p.partitions)).collect::<Int32Array>())),
        ("partition", Arc::new(progress.iter().map(|p| Some(p.partition)).collect::<Int32Array>())),
        ("watermark", times(progress.iter().map(|p| p.watermark))),
        ("version", Arc::new(progress.iter().map(|p| Some(p.version)).collect::<UInt64Array>())),
    ])
}
