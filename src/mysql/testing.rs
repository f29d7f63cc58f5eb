//! A pool for tests.

use super::connect::Dialler;
use super::login::Login;
use super::pool::{Hooks, Pool};
use crate::config::Config;
use crate::name::Ordinal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;

/// What a pool has told.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) demoted: AtomicUsize,
    pub(super) freed: AtomicUsize,
}

pub(super) fn config() -> Config {
    Config::new("mysql", "app")
}

/// That of `mysql-0`, at a port where nobody listens.
pub(super) fn pool(config: &Config, handle: Handle) -> (Arc<Pool>, Arc<Told>) {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let login = Arc::new(Login::new(config));
    let host = "mysql-0.mysql.default.svc.cluster.local";
    let dialler = Dialler::new(config, host, Some(Ordinal::PRIMARY), closed, login);
    let told = Arc::<Told>::default();
    let (demoted, freed) = (Arc::clone(&told), Arc::clone(&told));
    let hooks = Hooks {
        confirmed: Box::new(|_| {}),
        demoted: Box::new(move || {
            demoted.demoted.fetch_add(1, Ordering::Relaxed);
        }),
        freed: Box::new(move || {
            freed.freed.fetch_add(1, Ordering::Relaxed);
        }),
    };
    let pool = Pool::new(dialler, config, Arc::default(), None, hooks, handle);
    (pool, told)
}
