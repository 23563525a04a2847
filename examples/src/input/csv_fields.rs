//! One CSV row taken apart, strictly as RFC 4180 has it.
//!
//! Written here because the usual reader takes an open quote to mean that the rest of the file is one field: one
//! bad line would cost all lines after it, without a word, and any amount of memory.

/// What a piece of text is as a CSV row.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// A whole row with these fields, still to be checked for UTF-8.
    Fields(Vec<Vec<u8>>),
    /// The row goes on: a quote is open at the end of the text.
    Open,
    /// Text follows a closing quote.
    TextAfterQuote {
        /// Where, counted from 0.
        at: usize,
    },
}

/// Takes the text of a row apart. It may end in a line break, which then ends the row.
pub(super) fn split(text: &[u8]) -> Row {
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let (field, end) = match text.get(at) {
            Some(b'"') => match quoted(text, at + 1) {
                Some(field) => field,
                None => return Row::Open,
            },
            _ => plain(text, at),
        };
        fields.push(field);
        match &text[end..] {
            [b',', ..] => at = end + 1,
            [] | [b'\n'] | [b'\r', b'\n'] => return Row::Fields(fields),
            _ => return Row::TextAfterQuote { at: end },
        }
    }
}

/// The field from `start` to the next comma or line break, and where it ends.
fn plain(text: &[u8], start: usize) -> (Vec<u8>, usize) {
    let rest = super::lines::without_line_break(&text[start..]);
    let length = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
    (rest[..length].to_vec(), start + length)
}

/// The field from `start`, behind its opening quote, and where its closing quote ends; `None` without one.
fn quoted(text: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let mut field = Vec::new();
    let mut at = start;
    loop {
        let length = text[at..].iter().position(|byte| *byte == b'"')?;
        field.extend_from_slice(&text[at..at + length]);
        at += length + 1;
        if text.get(at) != Some(&b'"') {
            return Some((field, at));
        }
        field.push(b'"');
        at += 1;
    }
}

/// Whether `text`, read from within a quoted field, has the quote that closes it.
pub(super) fn closes_quote(text: &[u8]) -> bool {
    quoted(text, 0).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(values: &[&str]) -> Row {
        Row::Fields(values.iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    #[test]
    fn plain_and_quoted_fields_are_split_at_commas() {
        assert_eq!(split(b"a,\"b,c\",\r\n"), fields(&["a", "b,c", ""]));
        assert_eq!(
            split(b"\"say \"\"hi\"\"\n there\""),
            fields(&["say \"hi\"\n there"])
        );
        assert_eq!(
            split(b"5\" disk,x"),
            fields(&["5\" disk", "x"]),
            "a quote within a plain field is text"
        );
    }

    #[test]
    fn an_open_quote_asks_for_more() {
        assert_eq!(split(b"a,\"b\n"), Row::Open);
        assert_eq!(split(b"a,\"b\"\""), Row::Open, "a doubled quote closes nothing");
    }

    #[test]
    fn text_after_a_closing_quote_is_refused_where_it_stands() {
        assert_eq!(split(b"\"a\"b,c"), Row::TextAfterQuote { at: 3 });
    }

    proptest! {
        #[test]
        fn rows_that_the_csv_crate_writes_are_read_back(
            values in proptest::collection::vec("[a-c,\"\r\n \u{e9}]{0,6}", 1..5),
        ) {
            let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
            writer.write_record(&values).unwrap();
            let text = writer.into_inner().unwrap();
            prop_assert_eq!(split(&text), fields(&values.iter().map(String::as_str).collect::<Vec<_>>()));
        }
    }
}
