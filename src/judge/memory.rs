//! Readings that are needed beyond their window: by the history of their own rule, and by rules that read them.
//!
//! They are recorded with what was published, as levels are, so that a replay takes them as they were said and evaluates
//! nothing anew.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, TimestampMillisecondArray},
    compute::cast,
    datatypes::{Field, Schema, SchemaRef},
};
use datafusion::common::{Result, exec_datafusion_err};
use serde::{Deserialize, Serialize};

use crate::{
    panes::{Millis, is_time},
    partial::{FormatError, RecordFormat, envelope, ipc, open, read_ipc},
    rules::levels::Level,
};

/// The columns behind those of the output.
const LEVEL: &str = "__level";
const STATE: &str = "__state";
const JUDGED: &str = "__judged";

/// The rows of one rule at one window end.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// The rule.
    pub rule: String,
    /// Its version.
    pub version: String,
    /// The window's end.
    pub end: Millis,
    /// The output columns, then level, state, and whether it was judged.
    pub rows: RecordBatch,
}

/// The rows of a window as they are remembered.
pub(super) fn rows(rows: &RecordBatch, levels: &[(Option<Level>, Level)], judged: &[bool]) -> Result<RecordBatch> {
    let mut fields: Vec<Arc<Field>> = rows.schema().fields().iter().cloned().collect();
    let mut columns = rows.columns().to_vec();
    let level: StringArray = levels.iter().map(|(level, _)| level.map(Level::name)).collect();
    let state: StringArray = levels.iter().map(|(_, state)| Some(state.name())).collect();
    let own: [(&str, ArrayRef); 3] =
        [(LEVEL, Arc::new(level)), (STATE, Arc::new(state)), (JUDGED, Arc::new(BooleanArray::from(judged.to_vec())))];
    for (name, column) in own {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

impl Remembered {
    /// The rows as the table that other rules read.
    pub(super) fn readings(&self, schema: &SchemaRef) -> Result<RecordBatch> {
        let column = |field: &Arc<Field>| -> Result<ArrayRef> {
            let name = match field.name().as_str() {
                "window_end" => {
                    let ends = TimestampMillisecondArray::from(vec![self.end; self.rows.num_rows()]);
                    return Ok(Arc::new(ends));
                }
                "level" => LEVEL,
                "state" => STATE,
                name => name,
            };
            let column = self.rows.column_by_name(name);
            let column = column.ok_or_else(|| exec_datafusion_err!("a reading of {} has no `{name}`", self.rule))?;
            Ok(cast(column, field.data_type())?)
        };
        let columns: Result<Vec<ArrayRef>> = schema.fields().iter().map(column).collect();
        let fields: Vec<Field> =
            schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns?)?)
    }

    /// The columns that the rule's SQL gave, and which rows were judged.
    pub(super) fn of_sql(&self, columns: usize) -> Result<(RecordBatch, Vec<bool>)> {
        let all: Vec<usize> = (0..columns).collect();
        let judged = self.rows.column_by_name(JUDGED).and_then(|column| column.as_boolean_opt());
        let judged = judged.ok_or_else(|| exec_datafusion_err!("remembered rows do not say what was judged"))?;
        Ok((self.rows.project(&all)?, judged.iter().map(|one| one == Some(true)).collect()))
    }

    /// As a record of the state topic, in a format.
    pub fn encode(&self, format: RecordFormat) -> std::result::Result<Vec<u8>, FormatError> {
        let header = Header { rule: self.rule.clone(), version: self.version.clone(), end: self.end };
        Ok(envelope(format, &header, &[ipc(&self.rows)?]))
    }

    /// Reads such a record.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let (Header { rule, version, end }, rest) = open::<Header>(bytes)?;
        if !is_time(end) {
            return Err(FormatError::Damaged("a window has an end that is no time".into()));
        }
        Ok(Self { rule, version, end, rows: read_ipc(rest)? })
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    rule: String,
    version: String,
    end: Millis,
}

/// True where rows have the output columns of a rule as it is now.
pub(super) fn same_columns(rows: &RecordBatch, output: &SchemaRef) -> bool {
    let known = rows.schema();
    let has = |field: &Arc<Field>| {
        known.column_with_name(field.name()).is_some_and(|(_, other)| other.data_type() == field.data_type())
    };
    output.fields().iter().all(has)
}
