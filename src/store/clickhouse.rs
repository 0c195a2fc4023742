//! ClickHouse by its official crate: one Arrow block an insert, each with its token.

use std::time::Duration;

use clickhouse::{Client, Compression, error::Error as ClientError};

use super::stage::Insert;
use crate::{config, partial::ipc};

/// Why ClickHouse did not take something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the server or the client says.
    #[error("ClickHouse at {url}: {error}; check clickhouse.url, user and password")]
    Client {
        /// Where it is.
        url: String,
        /// What it says.
        error: ClientError,
    },
    /// It took too long.
    #[error("ClickHouse at {url} did not answer within {waited}")]
    Timeout {
        /// Where it is.
        url: String,
        /// How long was waited.
        waited: String,
    },
    /// A block cannot be written.
    #[error("a block cannot be written: {0}")]
    Block(#[from] crate::partial::FormatError),
}

impl Error {
    /// True where nobody answered, so that asking again may help.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Timeout { .. } | Self::Client { error: ClientError::Network(_) | ClientError::TimedOut, .. }
        )
    }
}

/// A ClickHouse database.
#[derive(Clone)]
pub struct ClickHouse {
    client: Client,
    url: String,
    timeout: Duration,
}

impl ClickHouse {
    /// The database of the configuration.
    pub fn new(config: &config::Clickhouse) -> Self {
        let mut client = Client::default()
            .with_url(&config.url)
            .with_database(&config.database)
            .with_user(&config.user)
            .with_compression(Compression::None);
        if let Some(password) = &config.password {
            client = client.with_password(password.expose());
        }
        Self { client, url: config.url.clone(), timeout: config.timeout }
    }

    /// The same server with no database chosen.
    pub fn without_database(&self) -> Self {
        Self { client: self.client.clone().with_database("default"), ..self.clone() }
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, ClientError>>) -> Result<T, Error> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(outcome) => outcome.map_err(|error| Error::Client { url: self.url.clone(), error }),
            Err(_) => Err(Error::Timeout {
                url: self.url.clone(),
                waited: humantime::format_duration(self.timeout).to_string(),
            }),
        }
    }

    /// Runs a statement.
    pub async fn execute(&self, sql: &str) -> Result<(), Error> {
        self.within(self.client.query(&sql.replace('?', "??")).execute()).await
    }

    /// The first column of a query's rows.
    pub async fn strings(&self, sql: &str) -> Result<Vec<String>, Error> {
        self.within(self.client.query(&sql.replace('?', "??")).fetch_all::<String>()).await
    }

    /// The rows of a query, as an Arrow IPC stream.
    pub async fn arrow(&self, sql: &str) -> Result<Vec<u8>, Error> {
        let client = self.client.clone().with_setting("output_format_arrow_string_as_string", "1");
        let work = async {
            let mut cursor = client.query(&sql.replace('?', "??")).fetch_bytes("ArrowStream")?;
            Ok(cursor.collect().await?.to_vec())
        };
        self.within(work).await
    }

    /// Inserts one block: all of it or nothing, and once for each token.
    pub async fn insert(&self, insert: &Insert) -> Result<(), Error> {
        let bytes = ipc(&insert.rows)?;
        let client = self
            .client
            .clone()
            .with_setting("insert_deduplication_token", &insert.token)
            .with_setting("async_insert", "0");
        let sql = format!("INSERT INTO {} FORMAT ArrowStream", insert.table.name());
        let work = async {
            let mut stream = client.insert_formatted_with(sql);
            stream.send(bytes.into()).await?;
            stream.end().await
        };
        self.within(work).await
    }
}
