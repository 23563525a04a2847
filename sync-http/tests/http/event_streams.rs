//! Reading event streams.

use std::{sync::Arc, time::Duration};

use sync_core::ErrorKind;
use sync_http::{
    HttpRequest, Method, SseEvent, SseLimits, SseOptions, SseParser, SseStream, TransportErrorKind, Url,
    testing::{ScriptedAnswer, ScriptedTransport, StreamEnd},
};
use sync_testkit::effects::TestEffects;

fn event(event: &str, data: &str, id: &str) -> SseEvent {
    SseEvent {
        event: event.to_owned(),
        data: data.to_owned(),
        id: id.to_owned(),
    }
}

fn parse(bytes: &[u8]) -> Vec<SseEvent> {
    SseParser::default().push(bytes).unwrap()
}

#[test]
fn the_examples_of_the_standard_are_read_as_it_says() {
    assert_eq!(
        parse(b"data: YHOO\ndata: +2\ndata: 10\n\n"),
        [event("message", "YHOO\n+2\n10", "")]
    );
    let four =
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
    assert_eq!(
        parse(four),
        [
            event("message", "first event", "1"),
            event("message", "second event", ""),
            event("message", " third event", ""),
        ]
    );
    assert_eq!(
        parse(b"data\n\ndata\ndata\n\ndata:"),
        [event("message", "", ""), event("message", "\n", "")],
        "the last one is cut by the end of the stream"
    );
    assert_eq!(
        parse(b"data:test\n\ndata: test\n\n"),
        [event("message", "test", ""), event("message", "test", "")]
    );
}

#[test]
fn unknown_fields_and_ids_with_nul_are_skipped_and_an_event_without_data_is_none() {
    assert_eq!(
        parse(b"foo: x\nevent: lonely\n\nid: a\0b\nevent: e\ndata: d\n\n"),
        [event("e", "d", "")],
        "the name of an event without data does not leak into the next"
    );
}

#[test]
fn the_pause_before_reconnecting_is_read_from_digits_only() {
    let mut parser = SseParser::default();
    parser.push(b"retry: 12x\n").unwrap();
    assert_eq!(parser.retry(), None);
    parser.push(b"retry: 1500\n").unwrap();
    assert_eq!(parser.retry(), Some(Duration::from_millis(1_500)));
}

/// Whatever the ends of lines, and wherever the borders of the pieces fall, the events are the same.
#[test]
fn borders_of_pieces_and_forms_of_line_ends_change_nothing() {
    let expected = [
        event("PB_CONNECT", "{\"clientId\":\"abc\"}", "abc"),
        event("notes/*", "line 1\n\nline 3 \u{e9}\u{1F600}", "abc"),
    ];
    for line_end in ["\n", "\r\n", "\r"] {
        let text = [
            "\u{FEFF}id:abc",
            "event:PB_CONNECT",
            "data:{\"clientId\":\"abc\"}",
            "",
            ": comment",
            "event: notes/*",
            "data: line 1",
            "data:",
            "data: line 3 \u{e9}\u{1F600}",
            "",
            "",
        ]
        .join(line_end);
        let bytes = text.as_bytes();
        for border in 0..=bytes.len() {
            let mut parser = SseParser::default();
            let mut events = parser.push(&bytes[..border]).unwrap();
            events.extend(parser.push(&bytes[border..]).unwrap());
            assert_eq!(events, expected, "{line_end:?}, border at {border}");
        }
        let mut parser = SseParser::default();
        let single: Vec<_> = bytes
            .iter()
            .flat_map(|byte| parser.push(&[*byte]).unwrap())
            .collect();
        assert_eq!(single, expected, "{line_end:?}, byte by byte");
    }
}

#[test]
fn endless_lines_and_events_are_refused() {
    let limits = SseLimits { line: 16, event: 40 };
    let mut parser = SseParser::new(limits);
    let error = parser.push(&[b'x'; 17]).unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::AnswerTooLarge);
    let mut parser = SseParser::new(limits);
    parser.push(b"data: 01234\n").unwrap();
    let error = parser.push(&b"data: 01234\n".repeat(10)).unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::AnswerTooLarge);
}

async fn open(transport: &ScriptedTransport, test: &TestEffects) -> sync_core::Result<SseStream> {
    let request = HttpRequest::new(Method::GET, Url::parse("http://host/live").unwrap());
    SseStream::open(
        transport,
        Arc::clone(&test.effects().timer),
        request,
        SseOptions::default(),
    )
    .await
}

#[tokio::test]
async fn a_stream_gives_its_events_and_tells_a_cut_from_an_end() {
    let test = TestEffects::tokio(1);
    let transport = ScriptedTransport::new();
    transport
        .then(ScriptedAnswer::events(
            ["data: 1\n\nda", "ta: 2\n\n"],
            StreamEnd::Orderly,
        ))
        .then(ScriptedAnswer::events(["data: 1\n\ndata: 2"], StreamEnd::Cut));
    let mut stream = open(&transport, &test).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().data, "1");
    assert_eq!(stream.next().await.unwrap().unwrap().data, "2");
    assert_eq!(stream.next().await.unwrap(), None);
    let mut stream = open(&transport, &test).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().data, "1");
    assert_eq!(
        stream.next().await.unwrap_err().kind(),
        TransportErrorKind::Interrupted
    );
    assert_eq!(transport.requests()[0].headers["accept"], "text/event-stream");
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_by_itself() {
    let test = TestEffects::tokio(1);
    let transport = ScriptedTransport::new();
    transport.then(ScriptedAnswer::events(["data: 1\n\n"], StreamEnd::Silence));
    let mut stream = open(&transport, &test).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().data, "1");
    let moving = async {
        test.clock.until_sleeping(1).await;
        test.clock.advance(SseOptions::default().silence);
    };
    let (end, ()) = futures::join!(stream.next(), moving);
    assert_eq!(end.unwrap_err().kind(), TransportErrorKind::Timeout);
}

#[tokio::test]
async fn a_dropped_wait_loses_no_event() {
    let test = TestEffects::tokio(1);
    let transport = ScriptedTransport::new();
    transport.then(ScriptedAnswer::events(
        ["da", "ta: 1\n\ndata: 2\n\n"],
        StreamEnd::Silence,
    ));
    let mut stream = open(&transport, &test).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap().data, "1");
    assert_eq!(stream.next().await.unwrap().unwrap().data, "2");
    for _ in 0..3 {
        assert!(futures::FutureExt::now_or_never(stream.next()).is_none());
    }
}

#[tokio::test]
async fn what_is_no_event_stream_is_refused() {
    let test = TestEffects::tokio(1);
    let transport = ScriptedTransport::new();
    transport
        .then(ScriptedAnswer::json(200, "{}"))
        .then(ScriptedAnswer::json(401, "{}"))
        .then(ScriptedAnswer::json(429, "{}").with_header("retry-after", "9"));
    assert_eq!(
        open(&transport, &test).await.unwrap_err().kind(),
        ErrorKind::Malformed
    );
    assert_eq!(
        open(&transport, &test).await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
    let limited = open(&transport, &test).await.unwrap_err();
    assert_eq!(
        limited.retry(),
        sync_core::RetryClass::After(Duration::from_secs(9))
    );
}
