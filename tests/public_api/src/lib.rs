//! See `tests/public_api/src/tests.rs`.

#[cfg(test)]
mod tests;
