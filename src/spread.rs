//! How series are spread over partials partitions: by the text of their spread keys, so that every instance and every
//! version agrees.

use arrow::{
    array::ArrayRef,
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};
use xxhash_rust::xxh3::xxh3_64;

/// The spread keys of one row as one text.
pub fn key_text(keys: &[ArrayRef], row: usize) -> Result<String, ArrowError> {
    let options = FormatOptions::default().with_null("\u{0}");
    let mut text = String::new();
    for key in keys {
        text.push_str(&ArrayFormatter::try_new(key.as_ref(), &options)?.value(row).to_string());
        text.push('\u{1f}');
    }
    Ok(text)
}

/// The partition of such a text; without keys all lies in partition 0.
pub fn partition_of(text: &str, partitions: i32) -> i32 {
    if text.is_empty() {
        return 0;
    }
    let count = u64::try_from(partitions.max(1)).unwrap_or(1);
    i32::try_from(xxh3_64(text.as_bytes()) % count).unwrap_or(0)
}
