//! Client-side load balancing for a MySQL StatefulSet behind a headless Service.
#![forbid(unsafe_code)]

pub mod balance;
pub mod cluster;
pub mod config;
pub mod discovery;
pub mod error;
pub mod mysql;
pub mod name;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod topology;
pub mod url;

pub use cluster::{Cluster, Route};
pub use config::{Config, ConfigError};
pub use error::Error;
pub use mysql::{Committed, PodConn, Tx};
pub use mysql_async;

/// What a program usually needs in scope.
pub mod prelude {
    pub use mysql_async::params;
    pub use mysql_async::prelude::{FromRow, FromValue, Queryable};
}
