//! Writes to standard output, which may be closed early: `mysql_client query ... | head`.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// The panic payload for a closed output. It unwinds to `main`, so that started servers end too.
pub(crate) struct ReaderLeft;

/// As `println!`, which would panic with a message if the output is closed.
macro_rules! say {
    ($($words:tt)*) => { $crate::say::line(format_args!($($words)*)) };
}
pub(crate) use say;

pub(crate) fn line(words: Arguments<'_>) {
    let mut output = std::io::stdout().lock();
    match writeln!(output, "{words}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            std::panic::resume_unwind(Box::new(ReaderLeft))
        }
        Err(error) => panic!("standard output: {error}"),
    }
}
