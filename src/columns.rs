//! Columns of readings and breaches in the Arrow types that every store takes: plain text, UTC times, maps.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, Float64Builder, ListBuilder, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder,
        TimestampMillisecondArray,
    },
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};

use crate::panes::Millis;

/// The columns that may be NULL.
const NULLABLE: [&str; 3] = ["value", "samples", "offending"];

/// A column of texts.
pub fn texts(values: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<StringArray>())
}

/// A column of times in UTC.
pub fn times(values: impl Iterator<Item = Millis>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<TimestampMillisecondArray>().with_timezone("UTC"))
}

/// A column of lists of texts.
pub fn text_lists(rows: impl Iterator<Item = Vec<String>>) -> ArrayRef {
    let field = Field::new("item", DataType::Utf8, false);
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(field);
    for row in rows {
        lists.append_value(row.into_iter().map(Some));
    }
    Arc::new(lists.finish())
}

/// A column of maps from text to text.
pub fn text_maps(rows: impl Iterator<Item = Vec<(String, String)>>) -> Result<ArrayRef, ArrowError> {
    let mut map = MapBuilder::new(Some(names()), StringBuilder::new(), StringBuilder::new());
    map = map.with_values_field(Field::new("values", DataType::Utf8, false));
    for row in rows {
        for (name, value) in row {
            map.keys().append_value(name);
            map.values().append_value(value);
        }
        map.append(true)?;
    }
    Ok(Arc::new(map.finish()))
}

/// A column of maps from text to numbers.
pub fn number_maps(rows: impl Iterator<Item = Vec<(String, f64)>>) -> Result<ArrayRef, ArrowError> {
    let mut map = MapBuilder::new(Some(names()), StringBuilder::new(), Float64Builder::new());
    map = map.with_values_field(Field::new("values", DataType::Float64, false));
    for row in rows {
        for (name, value) in row {
            map.keys().append_value(name);
            map.values().append_value(value);
        }
        map.append(true)?;
    }
    Ok(Arc::new(map.finish()))
}

fn names() -> MapFieldNames {
    MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() }
}

/// A block of named columns.
pub fn block(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, ArrowError> {
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), NULLABLE.contains(name));
    let fields: Vec<Field> = columns.iter().map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect())
}
