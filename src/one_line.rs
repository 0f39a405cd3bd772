//! Text of others, kept on one line: what a peer, a resolver or a handler says may go into a log.

use std::fmt::{self, Write};

/// Escapes what would begin a new line of a log or move a terminal's cursor: `\n`, `\u{1b}`. All else, quotes and
/// backslashes too, is written as it is.
pub(crate) struct OneLine<'a>(pub(crate) &'a mut dyn Write);

impl Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // What needs no escape is written in one piece: standard error makes a system call of each.
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

    // As by default, but not compiled into each caller.
    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        fmt::write(self, text)
    }
}

/// Control characters, the line and paragraph separators of Unicode, and those that reverse the order of what follows.
fn is_escaped(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
