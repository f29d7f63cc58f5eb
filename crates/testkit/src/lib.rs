//! A StatefulSet of MySQL or MariaDB servers behind a headless Service, on one machine, for tests.
//!
//! A [`Stage`](stage::Stage) is everything that an application sees from outside: the servers, and
//! the DNS that lists them. It gives a URL for the client under test:
//!
//! ```
//! use headless_mysql_testkit::stage::Stage;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `Stage::start(2)` has real servers, with real replication.
//! let stage = Stage::embedded(2).await?;
//! let url = stage.url();
//! assert!(url.starts_with("mysql://app:app-secret@mysql:3306/app?name_servers="));
//! # Ok(())
//! # }
//! ```
//!
//! | module | |
//! |---|---|
//! | [`dns`] | a cluster's DNS, whose answers can be late, wrong, incomplete or missing |
//! | [`lab`] | real servers as child processes |
//! | [`embedded`] | servers inside this process, which need no installation |
//! | [`pods`] | one interface for both kinds of server |
//! | [`proxy`] | a network that fails |
//! | [`stage`] | servers and DNS together |
//!
//! It must never depend on the client: a test must not take its expectations from the code it
//! tests.
#![forbid(unsafe_code)]

pub mod dns;
pub mod embedded;
pub mod lab;
pub mod pods;
pub mod proxy;
pub mod stage;
