//! Which payloads SQLite's JSON functions read exactly as we do.

/// How deep the scanner follows; deeper payloads count as irregular.
const MAX_DEPTH: usize = 64;

/// How many significant digits, and how many places after the point, a number may have.
const MAX_DIGITS: i64 = 17;
const MAX_PLACES: i64 = 19;

/// The largest power of ten that a number may reach.
const MAX_POWER: i64 = 28;

/// Whether SQLite reads this valid JSON text as `serde_json` does. If not, its record is filtered outside of SQL.
///
/// The differences:
/// - of two equal keys, SQLite takes the first, we take the last; escapes in keys might hide such a pair;
/// - SQLite's text functions stop at NUL;
/// - SQLite's conversion of decimal numbers is exact only within bounds: it works with about 100 bits, which settle
///   the rounding of at most 17 digits that lie between 10^-19 and 10^28. Integers beyond 64 bits become floats and
///   obey the same bounds.
pub(crate) fn is_regular(json: &str) -> bool {
    let mut scanner = Scanner {
        bytes: json.as_bytes(),
        at: 0,
    };
    scanner.value(0).is_some()
}

/// Walks over a text that is known to be JSON. Every step returns `None` for what is not regular.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space, consumed.
    fn next(&mut self) -> Option<u8> {
        self.skip_space();
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                while self.peek().is_some_and(|byte| byte.is_ascii_alphabetic()) {
                    self.at += 1;
                }
                Some(())
            }
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        let mut keys: Vec<&[u8]> = Vec::new();
        loop {
            self.skip_space();
            match self.peek()? {
                b'}' => {
                    self.at += 1;
                    break;
                }
                b',' => self.at += 1,
                _ => {
                    let key = self.string()?;
                    if key.contains(&b'\\') {
                        return None;
                    }
                    keys.push(key);
                    self.next().filter(|colon| *colon == b':')?;
                    self.value(depth + 1)?;
                }
            }
        }
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        (keys.len() == count).then_some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        loop {
            self.skip_space();
            match self.peek()? {
                b']' => {
                    self.at += 1;
                    return Some(());
                }
                b',' => self.at += 1,
                _ => self.value(depth + 1)?,
            }
        }
    }

    /// The bytes between the quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.next().filter(|quote| *quote == b'"')?;
        let start = self.at;
        loop {
            self.at += memchr::memchr2(b'"', b'\\', self.bytes.get(self.at..)?)?;
            if self.peek() == Some(b'"') {
                break;
            }
            if self.bytes[self.at..].starts_with(b"\\u0000") {
                return None;
            }
            self.at += 2;
        }
        let text = &self.bytes[start..self.at];
        self.at += 1;
        Some(text)
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        while self
            .peek()
            .is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E'))
        {
            self.at += 1;
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at]).ok()?;
        (text.parse::<i64>().is_ok() || is_settled(text)).then_some(())
    }
}

/// Whether a decimal number lies within the bounds of exact conversion.
fn is_settled(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let Ok(exponent) = exponent.trim_start_matches('+').parse::<i64>() else {
        return false;
    };
    if exponent.abs() > 400 {
        return false;
    }
    let (whole, fraction) = mantissa
        .trim_start_matches('-')
        .split_once('.')
        .unwrap_or((mantissa.trim_start_matches('-'), ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return true;
    }
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    // The number is `trimmed` times ten to the power of `power`. What SQLite sees are the digits as written.
    let power = exponent - length(fraction) + (length(significant) - length(trimmed));
    length(significant) <= 18
        && length(trimmed) <= MAX_DIGITS
        && -power <= MAX_PLACES
        && length(trimmed) + power <= MAX_POWER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_payloads_are_regular() {
        for json in [
            "{}",
            r#"{"a":1,"b":[1.5,true,null,{"a":"x\n\u00e9"}],"c":{"a":-0.1}, "d" : 9223372036854775807 }"#,
            r#"{"a":0.30000000000000004,"b":1e10,"c":-1.7976931348623e20,"d":0.0,"e":100.00}"#,
            r#"{"quote\"d value":1}"#.replace("\\\"", "'").as_str(),
        ] {
            assert!(is_regular(json), "{json}");
        }
    }

    #[test]
    fn what_sqlite_reads_otherwise_is_found() {
        for json in [
            r#"{"a":1,"a":2}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"x":[{"a":1,"a":1}]}"#,
            r#"{"\u0061":1,"a":2}"#,
            r#"{"a":"x\u0000y"}"#,
            r#"{"a":0.1000000000000000055511151231257827}"#,
            r#"{"a":5e-324}"#,
            r#"{"a":1e300}"#,
            r#"{"a":123456789012345678901234567890}"#,
        ] {
            assert!(!is_regular(json), "{json}");
        }
    }
}
