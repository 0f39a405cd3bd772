//! Values with numbers, in the order of their numbers.

/// Numbers are unique and usually rise, so a new value goes to the end. A removed value leaves an empty place. The
/// other values move only when more than half of the places are empty.
pub(crate) struct Numbered<T> {
    places: Vec<(u64, Option<T>)>,
    len: usize,
}

/// How many places are kept allocated.
const KEPT: usize = 32;

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered { places: Vec::new(), len: 0 }
    }
}

impl<T> Numbered<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, number: u64, value: T) {
        let (Ok(at) | Err(at)) = self.find(number);
        self.places.insert(at, (number, Some(value)));
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<T> {
        let value = self.find(number).ok().and_then(|at| self.places[at].1.take())?;
        self.len -= 1;
        if self.places.len() > 2 * self.len {
            self.places.retain(|(_, value)| value.is_some());
            // The memory of a peak is freed. A few places are kept, so that one connection after another allocates
            // none.
            self.places.shrink_to(KEPT.max(2 * self.len));
        }
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.places.iter().filter_map(|(_, value)| value.as_ref())
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.places.into_iter().filter_map(|(_, value)| value)
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        self.places.binary_search_by_key(&number, |(other, _)| *other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ensures that values are listed in the order of their numbers, whatever was removed, and that what was removed
    /// takes no memory.
    #[test]
    fn values_are_listed_in_order_and_removed_ones_leave_nothing_behind() {
        let mut values = Numbered::default();
        for number in [2, 1, 3].into_iter().chain(4..=1000) {
            values.insert(number, number);
        }
        for number in (1..=1000).filter(|number| number % 100 != 0) {
            assert_eq!(values.remove(number), Some(number), "what is there is found");
            assert_eq!(values.remove(number), None, "and is removed once");
        }
        assert_eq!(values.len(), 10, "the others are left");
        assert!(values.iter().copied().eq((100..=1000).step_by(100)), "in their order");
        assert!(values.places.capacity() <= KEPT + 10, "the memory has gone, but for {}", values.places.capacity());
    }
}
