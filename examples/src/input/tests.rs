//! What becomes of good and bad lines, through the public interface.

use std::io::{self, BufReader, Read};

use super::*;

/// Reads everything: records as `line id payload`, problems as they print.
fn read_with(text: &[u8], format: Format, options: &InputOptions) -> (Vec<String>, Vec<String>) {
    let mut records = Records::new(text, format, options).unwrap();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for next in records.by_ref() {
        match next {
            Ok(record) => good.push(format!(
                "{} {} {}",
                record.line,
                record.id,
                record.payload.as_str()
            )),
            Err(problem) => bad.push(problem.to_string()),
        }
    }
    let counted = InputSummary {
        records: good.len() as u64,
        problems: bad.len() as u64,
    };
    assert_eq!(records.summary(), counted);
    (good, bad)
}

fn read(text: impl AsRef<[u8]>, format: Format) -> (Vec<String>, Vec<String>) {
    read_with(text.as_ref(), format, &InputOptions::default())
}

fn header_error(text: &str, id_field: &str) -> String {
    let options = InputOptions {
        id_field: id_field.to_owned(),
        ..InputOptions::default()
    };
    Records::new(text.as_bytes(), Format::Csv, &options)
        .unwrap_err()
        .to_string()
}

#[test]
fn json_lines_keep_their_text_and_give_text_and_integer_ids() {
    let (good, bad) = read(
        "{\"id\":\"a\", \"n\":1.50}\r\n\n  \n{\"id\":-7}\n{\"id\":18446744073709551615}",
        Format::JsonLines,
    );
    assert_eq!(
        good,
        [
            "1 a {\"id\":\"a\", \"n\":1.50}",
            "4 -7 {\"id\":-7}",
            "5 18446744073709551615 {\"id\":18446744073709551615}"
        ]
    );
    assert_eq!(bad, Vec::<String>::new());
}

#[test]
fn every_kind_of_bad_json_line_is_told_and_the_rest_goes_on() {
    let text = "{\"id\":1}\n{\"id\":\n[1]\n7\n{\"no\":1}\n{\"id\":null}\n{\"id\":1.0}\n{\"id\":[]}\n{\"id\":\"\"}\n\
                {\"id\":\"a\\u0000\"}\n{\"id\":\"1\"}\n{\"id\":2} x\n{\"id\":3}";
    let (good, bad) = read(text, Format::JsonLines);
    assert_eq!(good, ["1 1 {\"id\":1}", "13 3 {\"id\":3}"]);
    assert_eq!(
        bad,
        [
            "line 2: not JSON at column 6: EOF while parsing a value",
            "line 3: an array, where an object is needed",
            "line 4: a number, where an object is needed",
            "line 5: there is no field \"id\" to take the id from",
            "line 6: the id in \"id\" is null; it must be a text or an integer",
            "line 7: the id in \"id\" is a number that is no integer; it must be a text or an integer",
            "line 8: the id in \"id\" is an array; it must be a text or an integer",
            "line 9: the id cannot be used: must not be empty",
            "line 10: the id cannot be used: has a control character at position 1; remove it",
            "line 11: the id \"1\" was on an earlier line",
            "line 12: not JSON at column 10: trailing characters",
        ]
    );
}

#[test]
fn a_line_that_is_not_utf_8_is_told_with_its_byte() {
    let (good, bad) = read(b"{\"id\":\"\xFF\"}\n{\"id\":1}\n", Format::JsonLines);
    assert_eq!(
        (good.len(), bad),
        (1, vec!["line 1: not UTF-8 at byte 8".to_owned()])
    );
    let (good, bad) = read(b"id,name\n1,\xFF\n2,b\n", Format::Csv);
    assert_eq!(
        (good.len(), bad),
        (1, vec!["line 2: not UTF-8 at byte 3".to_owned()])
    );
}

#[test]
fn a_line_that_is_too_long_is_told_and_skipped() {
    let options = InputOptions {
        max_record_bytes: 12,
        ..InputOptions::default()
    };
    let (good, bad) = read_with(b"{\"id\":12345}\n{\"id\":1234}\n", Format::JsonLines, &options);
    assert_eq!(good, ["2 1234 {\"id\":1234}"]);
    assert_eq!(bad, ["line 1: longer than the 12 bytes allowed for a record"]);
    let (good, bad) = read_with(b"id,name\n1,0123456789\n2,b\n", Format::Csv, &options);
    assert_eq!(good, ["3 2 {\"id\":\"2\",\"name\":\"b\"}"]);
    assert_eq!(bad, ["line 2: longer than the 12 bytes allowed for a record"]);
}

#[test]
fn a_byte_order_mark_is_left_out() {
    assert_eq!(
        read("\u{feff}{\"id\":1}", Format::JsonLines).0,
        ["1 1 {\"id\":1}"]
    );
    assert_eq!(read("\u{feff}id\n1", Format::Csv).0, ["2 1 {\"id\":\"1\"}"]);
}

#[test]
fn csv_values_become_texts_except_exact_booleans_and_plain_numbers() {
    let cases = [
        ("true", "true"),
        ("False", "\"False\""),
        ("0", "0"),
        ("-12", "-12"),
        ("3.50", "3.50"),
        ("007", "\"007\""),
        ("-01", "\"-01\""),
        ("+1", "\"+1\""),
        ("1e5", "\"1e5\""),
        (".5", "\".5\""),
        ("5.", "\"5.\""),
        ("-", "\"-\""),
        ("", "\"\""),
        (" 1", "\" 1\""),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "\"9223372036854775808\""),
        ("NaN", "\"NaN\""),
        ("\"1\"", "1"),
        ("\"a\"\"\n\\b\"", "\"a\\\"\\n\\\\b\""),
    ];
    for (value, json) in cases {
        let (good, _) = read(format!("id,value\n01,{value}\n"), Format::Csv);
        assert_eq!(
            good,
            [format!("2 01 {{\"id\":\"01\",\"value\":{json}}}")],
            "for {value}"
        );
    }
}

#[test]
fn a_csv_number_has_a_json_form_that_parses() {
    let huge = format!("{}.5", "9".repeat(400));
    let (good, _) = read(format!("id,value\n1,{huge}\n2,-0.0\n"), Format::Csv);
    assert!(good[0].contains("\"999"), "a number beyond f64 stays a text");
    assert_eq!(good[1], "3 2 {\"id\":\"2\",\"value\":-0.0}");
}

#[test]
fn every_kind_of_bad_csv_row_is_told_and_the_rest_goes_on() {
    let text = "id,name\n1,a\n\n2\n3,b,c\n,d\n1,e\n\"4\"x,f\n5,\"two\nlines\"\n6,g\n";
    let (good, bad) = read(text, Format::Csv);
    assert_eq!(
        good,
        [
            "2 1 {\"id\":\"1\",\"name\":\"a\"}",
            "9 5 {\"id\":\"5\",\"name\":\"two\\nlines\"}",
            "11 6 {\"id\":\"6\",\"name\":\"g\"}",
        ]
    );
    assert_eq!(
        bad,
        [
            "line 4: the header has 2 fields, this row has 1",
            "line 5: the header has 2 fields, this row has 3",
            "line 6: the id cannot be used: must not be empty",
            "line 7: the id \"1\" was on an earlier line",
            "line 8: text follows a closing quote at byte 4; double a quote that belongs to the text",
        ]
    );
}

#[test]
fn a_stray_quote_costs_its_own_line_only() {
    let never_closed = "line 2: a quote is opened and not closed";
    let (good, bad) = read("id,name\n1,\"a\n2,b\n3,c\n", Format::Csv);
    assert_eq!((good.len(), bad), (2, vec![never_closed.to_owned()]));

    let (good, bad) = read("id,name\n1,\"a\n2,\"b\"\n3,c\n", Format::Csv);
    assert_eq!(good.len(), 2);
    assert_eq!(
        bad,
        ["line 2: text follows a closing quote at byte 9; double a quote that belongs to the text"]
    );

    let options = InputOptions {
        max_record_bytes: 16,
        ..InputOptions::default()
    };
    let (good, bad) = read_with(b"id,name\n1,\"a\n2,bbbbbb\n3,cccccc\n", Format::Csv, &options);
    assert_eq!((good.len(), bad), (2, vec![never_closed.to_owned()]));
}

#[test]
fn a_header_that_cannot_be_used_is_refused_with_the_reason() {
    assert_eq!(header_error("", "id"), "the file has no header line");
    assert_eq!(
        header_error("id,a,a\n", "id"),
        "the header names the field \"a\" twice"
    );
    assert_eq!(header_error("id,,a\n", "id"), "field 2 of the header has no name");
    assert_eq!(
        header_error("\nid,a\n", "key"),
        "the header has no field \"key\" to take the id from; it has: id, a"
    );
    assert_eq!(
        header_error("id,\"a\n", "id"),
        "the header cannot be used: a quote is opened and not closed"
    );
}

#[test]
fn the_id_field_is_an_option() {
    let options = InputOptions {
        id_field: "code".to_owned(),
        ..InputOptions::default()
    };
    assert_eq!(
        read_with(b"a,code\n1,x\n", Format::Csv, &options).0,
        ["2 x {\"a\":1,\"code\":\"x\"}"]
    );
    assert_eq!(
        read_with(b"{\"code\":\"x\"}", Format::JsonLines, &options).0,
        ["1 x {\"code\":\"x\"}"]
    );
}

#[test]
fn records_come_before_the_file_has_ended() {
    let endless = BufReader::new(io::repeat(b'7').chain(io::empty()));
    let start = &b"{\"id\":1}\n{\"id\":2}\n"[..];
    let mut records =
        Records::new(start.chain(endless), Format::JsonLines, &InputOptions::default()).unwrap();
    assert_eq!(records.next().unwrap().unwrap().line, 1);
    assert_eq!(records.next().unwrap().unwrap().line, 2);
}

#[test]
fn a_file_that_cannot_be_read_on_is_told_and_ends_the_reading() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    for format in [Format::JsonLines, Format::Csv] {
        let start = match format {
            Format::JsonLines => "{\"id\":1}\n",
            Format::Csv => "id\n",
        };
        let reader = BufReader::new(start.as_bytes().chain(Broken));
        let mut records = Records::new(reader, format, &InputOptions::default()).unwrap();
        let problem = records.find_map(Result::err).unwrap();
        assert_eq!(
            problem.to_string(),
            "line 2: the file cannot be read on: the disk is gone"
        );
        assert!(records.next().is_none());
    }
}

#[test]
fn the_extension_tells_the_format_unless_it_is_named() {
    assert_eq!(Format::of_path(Path::new("a/B.NDJSON")), Some(Format::JsonLines));
    assert_eq!(Format::of_path(Path::new("b.csv")), Some(Format::Csv));
    assert_eq!(Format::of_path(Path::new("csv")), None);
    for format in [Format::JsonLines, Format::Csv] {
        assert_eq!(format.to_string().parse(), Ok(format));
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.txt");
    std::fs::write(&path, "id\n1\n").unwrap();
    let unknown = open(&path, &InputOptions::default()).unwrap_err();
    assert!(matches!(unknown, InputError::UnknownFormat(_)), "{unknown}");
    let named = InputOptions {
        format: Some(Format::Csv),
        ..InputOptions::default()
    };
    assert_eq!(open(&path, &named).unwrap().filter_map(Result::ok).count(), 1);
    let absent = open(&folder.path().join("absent.csv"), &InputOptions::default()).unwrap_err();
    assert!(matches!(absent, InputError::Open { .. }), "{absent}");
}
