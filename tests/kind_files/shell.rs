//! All shell of the repository passes shellcheck.

use crate::repository;
use std::path::{Path, PathBuf};
use std::process::Command;

fn is_shell(file: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else {
        return false;
    };
    let first = text.lines().next().unwrap_or_default();
    file.extension().is_some_and(|extension| extension == "sh")
        || first == "#!/usr/bin/env bash"
        || first == "#!/bin/sh"
}

/// The shell files below a folder, links and what cargo makes left out.
fn shell(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && !path.ends_with("target") && !path.ends_with(".git") {
            shell(&path, found);
        } else if kind.is_file() && is_shell(&path) {
            found.push(path);
        }
    }
}

#[test]
fn all_shell_passes_shellcheck() {
    let mut files = Vec::new();
    shell(&repository("."), &mut files);
    for known in [
        "tests/run",
        "tests/kind/run",
        "start.sh",
        "seed.sh",
        "lib.sh",
    ] {
        assert!(files.iter().any(|file| file.ends_with(known)), "{known}");
    }
    let check = Command::new("shellcheck")
        .args(["--external-sources", "--source-path=SCRIPTDIR"])
        .args(&files)
        .output()
        .expect("shellcheck is installed; tests/run installs it");
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success(), "{said}");
}
