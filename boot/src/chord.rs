//! The key chord that leaves the console.
//!
//! The root nester's console server has the prefix key `Ctrl-]`: with `1` to
//! `9` it switches consoles, twice it sends one literal `Ctrl-]`. The tool
//! keeps one more chord on that prefix for itself, `Ctrl-] q`, and passes
//! everything else through, prefix included.

/// The prefix key, `Ctrl-]`.
pub const PREFIX: u8 = 0x1d;
/// The key that leaves, after the prefix.
pub const LEAVE: u8 = b'q';

/// Follows the keys the user types.
#[derive(Debug, Default)]
pub struct Chords {
    prefixed: bool,
}

/// What to do with one batch of keys.
#[derive(Debug, PartialEq, Eq)]
pub enum Keys {
    /// Send these bytes on.
    Forward(Vec<u8>),
    /// Send these bytes on, then leave; keys after the chord are dropped.
    Leave(Vec<u8>),
}

impl Chords {
    /// Takes the next keys. A prefix is held back until the key after it.
    pub fn feed(&mut self, keys: &[u8]) -> Keys {
        let mut forward = Vec::with_capacity(keys.len() + 1);
        for &key in keys {
            match (std::mem::take(&mut self.prefixed), key) {
                (true, LEAVE) => return Keys::Leave(forward),
                (true, _) => forward.extend([PREFIX, key]),
                (false, PREFIX) => self.prefixed = true,
                (false, _) => forward.push(key),
            }
        }
        Keys::Forward(forward)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn forward(bytes: &[u8]) -> Keys {
        Keys::Forward(bytes.to_vec())
    }

    #[test]
    fn leaves_on_the_chord_even_across_batches() {
        let mut chords = Chords::default();
        assert_eq!(chords.feed(b"ls\r\x1d"), forward(b"ls\r"));
        assert_eq!(chords.feed(b"q"), Keys::Leave(vec![]));
        assert_eq!(Chords::default().feed(b"a\x1dqb"), Keys::Leave(b"a".to_vec()));
    }

    #[test]
    fn passes_other_chords_through() {
        let mut chords = Chords::default();
        assert_eq!(chords.feed(b"\x1d2"), forward(b"\x1d2"));
        assert_eq!(chords.feed(b"\x1d\x1d"), forward(b"\x1d\x1d"));
        // The pair above is one literal Ctrl-]: it must not make a chord here.
        assert_eq!(chords.feed(b"q"), forward(b"q"));
    }

    proptest! {
        #[test]
        fn nothing_is_lost_without_the_prefix(
            batches in prop::collection::vec(prop::collection::vec(0x20u8..0x7f, 0..8), 0..8)
        ) {
            let mut chords = Chords::default();
            for batch in batches {
                prop_assert_eq!(chords.feed(&batch), Keys::Forward(batch.clone()));
            }
        }
    }
}
