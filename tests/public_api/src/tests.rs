//! The public API of the crate as a text, so that a change of it is seen in review. Items that are
//! hidden from the documentation are left out.
//!
//! ```text
//! cargo test --package headless-mysql-public-api                          # compares
//! UPDATE_PUBLIC_API=1 cargo test --package headless-mysql-public-api      # writes the text anew
//! ```

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// rustdoc writes JSON on a stable compiler, too, if it is told to behave as a nightly one.
fn rustdoc_json(root: &Path) -> String {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let target = root.join("target/public-api");
    let status = Command::new(cargo)
        .args([
            "rustdoc",
            "--package",
            "headless-mysql",
            "--lib",
            "--all-features",
            "--locked",
        ])
        .arg("--target-dir")
        .arg(&target)
        .args([
            "--",
            "-Zunstable-options",
            "--output-format=json",
            "--cap-lints=allow",
        ])
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTDOCFLAGS")
        .current_dir(root)
        .status()
        .unwrap();
    assert!(status.success(), "rustdoc failed");
    let json = target.join("doc/headless_mysql.json");
    json.to_str().unwrap().to_owned()
}

#[test]
fn the_public_api_is_the_one_that_was_reviewed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let api = public_api::Builder::from_rustdoc_json(rustdoc_json(&root))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .unwrap();
    let found: String = api.items().map(|item| format!("{item}\n")).collect();
    let reviewed = root.join("docs/public-api.txt");
    if env::var_os("UPDATE_PUBLIC_API").is_some() {
        return fs::write(reviewed, found).unwrap();
    }
    let expected = fs::read_to_string(reviewed).unwrap();
    let without = |text: &str, other: &str, sign: &str| -> String {
        let lines = text
            .lines()
            .filter(|line| !other.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect()
    };
    assert!(
        found == expected,
        "UPDATE_PUBLIC_API=1 writes docs/public-api.txt anew; it would change by\n{}{}",
        without(&expected, &found, "-"),
        without(&found, &expected, "+")
    );
}
