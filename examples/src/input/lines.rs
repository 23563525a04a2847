//! Lines of bounded length, with their numbers.

use std::{
    collections::VecDeque,
    io::{self, BufRead},
};

use super::problem::LineProblem;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One line with its line break, if it has one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    /// `None` if it was longer than allowed; it was skipped then.
    pub(super) bytes: Option<Vec<u8>>,
}

/// Reads lines, holding no more than one of them and those that were put back.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    limit: usize,
    number: u64,
    put_back: VecDeque<Line>,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R, limit: usize) -> Self {
        Self {
            reader,
            limit,
            number: 0,
            put_back: VecDeque::new(),
        }
    }

    /// The next line; `None` at the end of the file. The only problem is `Unreadable`.
    pub(super) fn next(&mut self) -> Result<Option<Line>, LineProblem> {
        match self.put_back.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.read().map_err(|error| LineProblem {
                line: self.number + 1,
                reason: error.into(),
            }),
        }
    }

    /// Gives lines back, to be read again before all others. They are in their order in the file.
    pub(super) fn put_back(&mut self, lines: Vec<Line>) {
        for line in lines.into_iter().rev() {
            self.put_back.push_front(line);
        }
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let mut length = 0;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let line_break = available.iter().position(|byte| *byte == b'\n');
            let taken = line_break.map_or(available.len(), |at| at + 1);
            length += taken;
            if length <= self.limit {
                bytes.extend_from_slice(&available[..taken]);
            } else {
                bytes = Vec::new();
            }
            self.reader.consume(taken);
            if taken == 0 && length == 0 {
                return Ok(None);
            }
            if line_break.is_some() || taken == 0 {
                break;
            }
        }
        self.number += 1;
        if self.number == 1 && bytes.starts_with(BYTE_ORDER_MARK) {
            bytes.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Some(Line {
            number: self.number,
            bytes: (length <= self.limit).then_some(bytes),
        }))
    }
}

/// The line without its line break.
pub(super) fn without_line_break(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8], limit: usize) -> Vec<Line> {
        // A buffer of one byte, so that every line spans several reads.
        let mut lines = Lines::new(io::BufReader::with_capacity(1, text), limit);
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn line(number: u64, text: &str) -> Line {
        Line {
            number,
            bytes: Some(text.as_bytes().to_vec()),
        }
    }

    #[test]
    fn lines_are_numbered_and_the_last_needs_no_line_break() {
        assert_eq!(all(b"a\n\nbc", 9), [line(1, "a\n"), line(2, "\n"), line(3, "bc")]);
        assert_eq!(all(b"", 9), []);
    }

    #[test]
    fn a_line_of_the_greatest_length_is_given_and_a_longer_one_is_skipped() {
        let skipped = Line {
            number: 2,
            bytes: None,
        };
        assert_eq!(
            all(b"abc\nabcd\nab", 4),
            [line(1, "abc\n"), skipped, line(3, "ab")]
        );
    }

    #[test]
    fn a_byte_order_mark_is_only_left_out_at_the_start() {
        assert_eq!(
            all(b"\xEF\xBB\xBFa\n\xEF\xBB\xBFb", 9),
            [line(1, "a\n"), line(2, "\u{feff}b")]
        );
    }

    #[test]
    fn lines_that_were_put_back_come_first_and_in_order() {
        let mut lines = Lines::new(&b"a\nb\nc\n"[..], 9);
        let first_two = vec![lines.next().unwrap().unwrap(), lines.next().unwrap().unwrap()];
        lines.put_back(first_two);
        let rest: Vec<u64> = std::iter::from_fn(|| lines.next().unwrap())
            .map(|line| line.number)
            .collect();
        assert_eq!(rest, [1, 2, 3]);
    }

    #[test]
    fn both_kinds_of_line_breaks_are_taken_off_once() {
        assert_eq!(without_line_break(b"a\r\n"), b"a");
        assert_eq!(without_line_break(b"a\r\r\n"), b"a\r");
        assert_eq!(without_line_break(b"a"), b"a");
    }
}
