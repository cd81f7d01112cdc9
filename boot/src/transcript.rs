//! What a console has printed so far, and how far a reader has read it.
//!
//! Carriage returns are dropped, so that a line reads the same whether it was
//! printed through a terminal's line discipline or not.

/// Everything printed so far, with a read position.
#[derive(Debug, Default)]
pub struct Transcript {
    text: Vec<u8>,
    read: usize,
}

impl Transcript {
    /// Adds what the console printed next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.text.extend(bytes.iter().filter(|&&byte| byte != b'\r'));
    }

    /// If `wanted` occurs in the unread text, reads up to its end and returns
    /// what stood before it.
    pub fn take_through(&mut self, wanted: &[u8]) -> Option<String> {
        let unread = &self.text[self.read..];
        let at = memchr::memmem::find(unread, wanted)?;
        let before = String::from_utf8_lossy(&unread[..at]).into_owned();
        self.read += at + wanted.len();
        Some(before)
    }

    /// Reads the next complete line, without its end.
    pub fn take_line(&mut self) -> Option<String> {
        self.take_through(b"\n")
    }

    /// What has not been read yet.
    pub fn unread(&self) -> String {
        String::from_utf8_lossy(&self.text[self.read..]).into_owned()
    }

    /// Everything, read or not.
    pub fn all(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// The last `count` lines, for error messages.
    pub fn tail(&self, count: usize) -> String {
        let all = self.all();
        let lines: Vec<&str> = all.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// How the system said it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemEnd {
    /// Every machine was powered off.
    PowerOff,
    /// The system failed, for this reason.
    Failed(String),
}

/// The text that announces the end of the system; the root nester prints it,
/// at the start of a line, just before it powers the host machine off.
const END_MARK: &str = "[root   ] system end: ";
/// What the monitor and the kernel print when they cannot go on.
const STOP_MARKS: [&str; 2] = ["[monitor] stop: ", "[kernel ] stop: "];

/// Looks for the system's end in console output, in constant memory.
#[derive(Debug, Default)]
pub struct EndWatcher {
    line: Vec<u8>,
    end: Option<SystemEnd>,
}

impl EndWatcher {
    /// Longer lines cannot be the announcement; what is beyond is dropped.
    const MAX_LINE: usize = 512;

    /// Looks at what the console printed next.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                b'\r' => {}
                _ if self.line.len() < Self::MAX_LINE => self.line.push(byte),
                _ => {}
            }
        }
    }

    /// Takes the current line as ended: nothing more will be printed.
    pub fn finish(&mut self) {
        self.end_line();
    }

    /// The last end announced. It counts only once the host machine has
    /// stopped: a guest can print this line, too.
    pub fn end(&self) -> Option<&SystemEnd> {
        self.end.as_ref()
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        let stop = STOP_MARKS.iter().find_map(|mark| line.strip_prefix(mark));
        if let Some(reason) = stop {
            self.end = Some(SystemEnd::Failed(reason.trim().to_owned()));
        } else if let Some(end) = line.strip_prefix(END_MARK) {
            self.end = match end.trim() {
                "power-off" => Some(SystemEnd::PowerOff),
                other => {
                    let reason = other.strip_prefix("failed").unwrap_or(other).trim();
                    Some(SystemEnd::Failed(reason.to_owned()))
                }
            };
        }
        self.line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matching_consumes_in_order() {
        let mut transcript = Transcript::default();
        transcript.push(b"one two\r\none");
        assert_eq!(transcript.take_through(b"two"), Some("one ".into()));
        assert_eq!(transcript.take_through(b"two"), None);
        assert_eq!(transcript.take_line(), Some(String::new()));
        assert_eq!(transcript.take_line(), None);
        assert_eq!(transcript.take_through(b"one"), Some(String::new()));
        assert_eq!(transcript.unread(), "");
        assert_eq!(transcript.all(), "one two\none");
        assert_eq!(transcript.tail(1), "one");
    }

    #[test]
    fn an_empty_expectation_is_met_at_once() {
        assert_eq!(Transcript::default().take_through(b""), Some(String::new()));
    }

    #[test]
    fn the_last_announced_end_counts() {
        let mut watcher = EndWatcher::default();
        assert_eq!(watcher.end(), None);
        watcher.push(b"[root   ] system end: failed machine linux: triple fault\r\n");
        assert_eq!(watcher.end(), Some(&SystemEnd::Failed("machine linux: triple fault".into())));
        watcher.push(b"[root   ] system e");
        watcher.push(b"nd: power-off");
        assert!(matches!(watcher.end(), Some(SystemEnd::Failed(_))));
        watcher.finish();
        assert_eq!(watcher.end(), Some(&SystemEnd::PowerOff));
    }

    #[test]
    fn a_stop_of_a_lower_layer_is_an_end() {
        let mut watcher = EndWatcher::default();
        watcher.push(b"[monitor] stop: VT-x is locked off\r\n");
        assert_eq!(watcher.end(), Some(&SystemEnd::Failed("VT-x is locked off".into())));
    }

    #[test]
    fn an_end_within_a_line_does_not_count() {
        let mut watcher = EndWatcher::default();
        watcher.push(b"echo [root   ] system end: power-off\n");
        assert_eq!(watcher.end(), None);
    }

    proptest! {
        #[test]
        fn chunk_borders_do_not_matter(cuts in prop::collection::vec(0usize..40, 0..10)) {
            let text = b"abc [kernel ] started\r\nlast line: wanted!\n";
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut transcript = Transcript::default();
            let mut at = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                transcript.push(&text[at..cut.max(at)]);
                at = cut.max(at);
            }
            prop_assert_eq!(
                transcript.take_through(b"started\nlast line: wanted"),
                Some("abc [kernel ] ".to_owned())
            );
            prop_assert_eq!(transcript.take_line(), Some("!".to_owned()));
        }
    }
}
