//! Who a series is: its key columns as canonical JSON.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType},
    error::ArrowError,
    util::display::array_value_to_string,
};
use serde_json::{Value, json};

use crate::time::rfc3339;

/// A key as it stands in a series.
pub fn key_value(column: &ArrayRef, row: usize) -> Result<Value, ArrowError> {
    Ok(match column.data_type() {
        _ if column.is_null(row) => Value::Null,
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            json!(rfc3339(column.as_primitive::<TimestampMillisecondType>().value(row)))
        }
        _ => Value::String(array_value_to_string(column, row)?),
    })
}

/// A series as canonical JSON: its columns by name.
pub fn canonical(columns: BTreeMap<String, Value>) -> String {
    serde_json::to_string(&columns).unwrap_or_else(|error| unreachable!("keys are plain data: {error}"))
}
