//! Migrations of ClickHouse: numbered files, applied once, in order, recorded, and refused when an applied file has
//! changed. They are part of the binary.

use std::time::Duration;

use super::clickhouse::{ClickHouse, Error as ClickHouseError};
use crate::rules::hash_bytes;

/// One migration.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its file name.
    pub name: &'static str,
    /// Its statements, each ending with `;` at the end of a line.
    pub sql: &'static str,
}

/// All of them, in order.
pub const ALL: [Migration; 3] = [
    Migration { name: "0001_tables.sql", sql: include_str!("../../sql/clickhouse/0001_tables.sql") },
    Migration { name: "0002_views.sql", sql: include_str!("../../sql/clickhouse/0002_views.sql") },
    Migration { name: "0003_diagnosis.sql", sql: include_str!("../../sql/clickhouse/0003_diagnosis.sql") },
];

/// Why migrating stops.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// ClickHouse refused a statement.
    #[error("{migration}: {error}")]
    Statement {
        /// The migration.
        migration: &'static str,
        /// What was said.
        error: ClickHouseError,
    },
    /// ClickHouse is not there.
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    /// An applied file is not what it was.
    #[error(
        "{0} was applied before and has changed since: put it back as it was, and write a new migration for the change"
    )]
    Changed(String),
    /// A later binary was here.
    #[error(
        "the database has the migration {0}, which this binary does not know: it belongs to a later version; use that one"
    )]
    Unknown(String),
    /// Tables are missing, or older than this binary.
    #[error("the database {database} is not ready: {missing} is not applied; run `tierwatch migrate` first")]
    Behind {
        /// The database.
        database: String,
        /// The first migration that is missing.
        missing: &'static str,
    },
}

/// Applies what is not applied yet; answers with the names.
pub async fn apply(server: &ClickHouse, database: &str, migrations: &[Migration]) -> Result<Vec<&'static str>, Error> {
    server.without_database().execute(&format!("CREATE DATABASE IF NOT EXISTS {database}")).await?;
    server
        .execute("CREATE TABLE IF NOT EXISTS schema_migrations (name String, sha256 String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)) ENGINE = MergeTree ORDER BY name")
        .await?;
    let applied = server.strings("SELECT concat(name, ' ', sha256) FROM schema_migrations ORDER BY name").await?;
    for row in &applied {
        let (name, sha256) = row.split_once(' ').unwrap_or((row, ""));
        match migrations.iter().find(|migration| migration.name == name) {
            None => return Err(Error::Unknown(name.to_owned())),
            Some(migration) if hash_bytes(migration.sql.as_bytes()) != sha256 => {
                return Err(Error::Changed(name.to_owned()));
            }
            Some(_) => {}
        }
    }
    let mut done = Vec::new();
    for migration in migrations.iter().filter(|migration| !applied.iter().any(|row| row.starts_with(migration.name))) {
        for statement in statements(migration.sql) {
            server.execute(&statement).await.map_err(|error| Error::Statement { migration: migration.name, error })?;
        }
        let sha256 = hash_bytes(migration.sql.as_bytes());
        server
            .execute(&format!("INSERT INTO schema_migrations (name, sha256) VALUES ('{}', '{sha256}')", migration.name))
            .await?;
        done.push(migration.name);
    }
    Ok(done)
}

/// Applies all migrations, waiting for up to `wait` for a ClickHouse that is not there yet.
pub async fn apply_when_there(server: &ClickHouse, database: &str, wait: Duration) -> Result<Vec<&'static str>, Error> {
    until_there(server, wait).await?;
    apply(server, database, &ALL).await
}

/// Checks that all migrations are applied, waiting for up to `wait` for a ClickHouse that is not there yet.
pub async fn check_when_there(server: &ClickHouse, database: &str, wait: Duration) -> Result<(), Error> {
    until_there(server, wait).await?;
    let tables = format!("SELECT name FROM system.tables WHERE database = '{database}' AND name = 'schema_migrations'");
    let applied = if server.without_database().strings(&tables).await?.is_empty() {
        Vec::new()
    } else {
        server.strings("SELECT name FROM schema_migrations").await?
    };
    match ALL.iter().find(|migration| !applied.iter().any(|name| name == migration.name)) {
        Some(migration) => Err(Error::Behind { database: database.to_owned(), missing: migration.name }),
        None => Ok(()),
    }
}

/// Waits for up to `wait` for a ClickHouse that is not there yet.
async fn until_there(server: &ClickHouse, wait: Duration) -> Result<(), Error> {
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_millis(250);
    loop {
        match server.without_database().execute("SELECT 1").await {
            Ok(()) => return Ok(()),
            Err(error) if waited < wait && error.is_absence() => {
                tracing::warn!(%error, "no answer; trying again");
                tokio::time::sleep(pause).await;
                waited += pause;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The statements of a file: each ends with `;` at the end of a line.
fn statements(sql: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut statement = String::new();
    for line in sql.lines().filter(|line| !line.trim_start().starts_with("--")) {
        if let Some(last) = line.trim_end().strip_suffix(';') {
            statement.push_str(last);
            statements.push(std::mem::take(&mut statement));
        } else {
            statement.push_str(line);
            statement.push('\n');
        }
    }
    statements.retain(|statement| !statement.trim().is_empty());
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_at_line_ends() {
        assert_eq!(statements("-- why;\nSELECT ';' ,\n1;\n\nSELECT 2;\n"), ["SELECT ';' ,\n1", "\nSELECT 2"]);
        for migration in ALL {
            assert!(!statements(migration.sql).is_empty(), "{}", migration.name);
        }
    }
}
