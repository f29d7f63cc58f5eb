//! The files of `tests/kind` without a cluster: the scripts of the pods on real servers, the
//! manifests against the code, `tests/kind/run` with tools that only take notes, and the guide.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy.toml allows them in tests, but does not see that helpers are test code"
)]

#[path = "../kind/cases/deployed.rs"]
mod deployed;
mod guide;
mod manifests;
mod pod;
mod run;
mod scripts;
mod shell;

use std::path::PathBuf;

/// A file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}
