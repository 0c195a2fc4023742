//! Windows over events at hand, for queries before there is a rule: each event stands there once for each window it
//! lies in, with `window_start` and `window_end`, as stream engines have it.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, TimestampMillisecondArray, UInt32Array},
    compute::take_record_batch,
    datatypes::{Field, Schema, TimestampMillisecondType},
};
use datafusion::{
    common::{Result, plan_err},
    datasource::{MemTable, provider_as_source},
    logical_expr::TableSource,
};

use crate::{
    panes::{Hop, first_end_after},
    rules::{catalog::Table, functions::TIME, session::Windows},
};

/// All events, by table.
#[derive(Debug)]
pub struct Exploded {
    /// The events.
    pub tables: BTreeMap<String, RecordBatch>,
}

impl Windows for Exploded {
    fn source(&self, table: &Arc<Table>, hop: Hop) -> Result<Arc<dyn TableSource>> {
        let Some(events) = self.tables.get(&table.name) else {
            return plan_err!("there are no events of `{}`: give them with --events {}=FILE", table.name, table.name);
        };
        let exploded = explode(events, &table.event_time, hop)?;
        Ok(provider_as_source(Arc::new(MemTable::try_new(exploded.schema(), vec![vec![exploded]])?)))
    }
}

/// A table of a store, whose rows happen where their windows end.
pub fn stored(name: &str, rows: &RecordBatch) -> Table {
    Table {
        name: name.to_owned(),
        topic: String::new(),
        event_time: "window_end".into(),
        out_of_orderness_ms: 0,
        columns: Vec::new(),
        schema: rows.schema(),
        interval_ms: None,
        rule: None,
    }
}

fn explode(events: &RecordBatch, event_time: &str, hop: Hop) -> Result<RecordBatch> {
    let (mut rows, mut starts, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let times =
        events.column_by_name(event_time).and_then(|column| column.as_primitive_opt::<TimestampMillisecondType>());
    for (row, time) in times.iter().flat_map(|times| times.values().iter()).enumerate() {
        let mut end = first_end_after(time + hop.ago_ms, hop.slide_ms);
        while hop.window(end).0 <= *time {
            if *time < hop.window(end).1 {
                rows.push(u32::try_from(row).unwrap_or(u32::MAX));
                starts.push(hop.window(end).0);
                ends.push(end);
            }
            end += hop.slide_ms;
        }
    }
    let exploded = take_record_batch(events, &UInt32Array::from(rows))?;
    let mut fields: Vec<Arc<Field>> = exploded.schema().fields().iter().cloned().collect();
    let mut columns: Vec<ArrayRef> = exploded.columns().to_vec();
    // A column of that name is kept out of the way.
    for field in &mut fields {
        if ["window_start", "window_end"].contains(&field.name().as_str()) {
            *field = Arc::new(field.as_ref().clone().with_name(format!("own_{}", field.name())));
        }
    }
    for (name, values) in [("window_start", starts), ("window_end", ends)] {
        fields.push(Arc::new(Field::new(name, TIME, false)));
        columns.push(Arc::new(TimestampMillisecondArray::from(values)));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
