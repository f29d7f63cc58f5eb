//! A pool for tests.

use crate::config::Config;
use crate::name::Ordinal;
use crate::pool::state::{Hooks, Pool};
use crate::server::dialler::Dialler;
use crate::server::login::Login;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::Handle;

/// How often a pool called its hooks.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) demoted: AtomicUsize,
    pub(crate) freed: AtomicUsize,
}

pub(crate) fn config() -> Config {
    Config::new("mysql", "app")
}

/// The pool of `mysql-0`, at a port without a listener.
pub(crate) fn pool(config: &Config, handle: Handle) -> (Arc<Pool>, Arc<Told>) {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let login = Arc::new(Login::new(config));
    let host = "mysql-0.mysql.default.svc.cluster.local";
    let dialler = Dialler::new(
        config,
        host,
        Some(Ordinal::PRIMARY),
        closed,
        login,
        Arc::default(),
    );
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
    let pool = Pool::new(
        dialler,
        config,
        Arc::default(),
        Arc::default(),
        None,
        hooks,
        handle,
    );
    (pool, told)
}
