//! Standard output, which may be closed while there is more to say: `mysql_client query ... | head`.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Whoever reads has left. It unwinds to `main`, so that servers that were started end too.
pub(crate) struct ReaderLeft;

/// As `println!`, which would panic loudly.
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
