//! Parquet files in a folder, where there is no ClickHouse: one file an insert, named by its token, so that a retry
//! writes the same file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

use super::stage::{Insert, Table};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or the file.
    #[error("cannot write {path}: {error}; set store.path to a folder that can be written")]
    Write {
        /// The path.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The rows.
    #[error("rows cannot be written as Parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
}

/// A folder with a folder for each table.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A folder, made where it is not there.
    pub fn new(path: &Path) -> Result<Self, Error> {
        for table in [Table::Readings, Table::Breaches, Table::Progress] {
            let path = path.join(table.name());
            fs::create_dir_all(&path).map_err(|error| Error::Write { path, error })?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Writes one block. A file appears whole or not at all.
    pub fn insert(&self, insert: &Insert) -> Result<(), Error> {
        let name: String = insert.token.chars().rev().take(32).collect();
        let folder = self.path.join(insert.table.name());
        let (half, whole) = (folder.join(format!(".{name}.half")), folder.join(format!("{name}.parquet")));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::Write { path, error }
        };
        let file = fs::File::create(&half).map_err(failed(&half))?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = ArrowWriter::try_new(file, insert.rows.schema(), Some(properties))?;
        writer.write(&insert.rows)?;
        writer.close()?;
        fs::rename(&half, &whole).map_err(failed(&whole))
    }
}
