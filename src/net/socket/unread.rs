//! Bytes that were read and put back. The next reads return them first.

#[derive(Debug, Default)]
pub(crate) struct Unread {
    buffer: Vec<u8>,
    start: usize,
}

impl Unread {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        if let Some(start) = self.start.checked_sub(bytes.len()) {
            self.buffer[start..self.start].copy_from_slice(bytes);
            self.start = start;
        } else {
            self.buffer = [bytes, self.bytes()].concat();
            self.start = 0;
        }
    }

    /// Removes `n` bytes from the front. Returns whether none are left.
    pub(crate) fn take(&mut self, n: usize) -> bool {
        self.start += n;
        let is_empty = self.start == self.buffer.len();
        if is_empty {
            *self = Unread::default();
        }
        is_empty
    }
}
