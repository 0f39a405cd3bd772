//! Keeps text from a peer, a resolver or a handler on one line, so that it can go into a log.

use std::fmt::{self, Write};

/// Escapes control characters, such as `\n` and `\u{1b}`. They could begin a new line of a log or move a terminal's
/// cursor. All other characters stay as they are, including quotes and backslashes.
pub(crate) struct OneLine<'a>(pub(crate) &'a mut dyn Write);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Text that needs no escape is written in one piece, since standard error makes a system call of each piece.
        let mut written = 0;
        for (at, c) in text.char_indices() {
            if is_escaped(c) {
                self.0.write_str(&text[written..at])?;
                write!(self.0, "{}", c.escape_debug())?;
                written = at + c.len_utf8();
            }
        }
        self.0.write_str(&text[written..])
    }

    // As std's default, but not compiled into each caller.
    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        fmt::write(self, text)
    }
}

/// Control characters, the line and paragraph separators of Unicode, and those that reverse the order of what follows.
fn is_escaped(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
