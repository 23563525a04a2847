//! The transport on reqwest, against servers that misbehave.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use sync_core::Timer;
use sync_http::{
    HttpRequest, Method, ReqwestOptions, ReqwestTransport, Secret, StatusCode, Transport, TransportErrorKind,
    Url, header,
};
use sync_testkit::effects::TestEffects;

use crate::loopback::{Loopback, Say, answer, get, nobody, real_timer};

fn transport() -> ReqwestTransport {
    ReqwestTransport::new(real_timer()).unwrap()
}

#[tokio::test]
async fn a_request_is_sent_as_made_and_its_answer_read_whole() {
    let mut server =
        Loopback::start(vec![Say::Bytes(answer("201 Created", "X-Test: yes\r\n", "made"))]).await;
    let request = HttpRequest::new(Method::POST, server.get("/records?page=1").url)
        .with_secret_header(header::AUTHORIZATION, "Bearer ", &Secret::new("t0ken"))
        .unwrap()
        .with_json(&serde_json::json!({"a": 1}))
        .unwrap();
    let response = transport().send(request).await.unwrap();
    assert_eq!(
        (response.status, response.header("x-test"), &response.body[..]),
        (StatusCode::CREATED, Some("yes"), &b"made"[..])
    );
    let head = server.heads.recv().await.unwrap().to_lowercase();
    assert!(head.starts_with("post /records?page=1 http/1.1"), "{head}");
    assert!(
        head.contains("authorization: bearer t0ken") && head.contains("content-length: 7"),
        "{head}"
    );
    assert!(head.contains("user-agent: sync-http/"), "{head}");
}

#[tokio::test]
async fn a_server_that_is_not_there_had_nothing_sent_to_it() {
    let error = transport().send(get(nobody().await, "/")).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Connect, "{error}");
    assert!(error.nothing_sent());
    let unknown = HttpRequest::new(Method::GET, Url::parse("http://no-such-host.invalid/").unwrap());
    let error = transport().send(unknown).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Connect, "{error}");
}

#[tokio::test]
async fn a_connection_that_ends_before_or_within_the_answer_leaves_the_outcome_open() {
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    let server = Loopback::start(vec![Say::Bytes(Vec::new()), Say::Bytes(cut)]).await;
    for path in ["/nothing", "/half"] {
        let error = transport().send(server.get(path)).await.unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::Interrupted, "{path}: {error}");
        assert!(!error.nothing_sent());
    }
}

#[tokio::test]
async fn what_is_not_http_is_told_so() {
    let server = Loopback::start(vec![Say::Bytes(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())]).await;
    let error = transport().send(server.get("/")).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::InvalidAnswer, "{error:?}");
}

#[tokio::test]
async fn the_deadline_comes_from_the_injected_timer_and_covers_the_body() {
    let test = TestEffects::tokio(1);
    let timer: Arc<dyn Timer> = Arc::clone(&test.effects().timer);
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    let mut server = Loopback::start(vec![Say::AndHold(Vec::new()), Say::AndHold(begun)]).await;
    let transport = ReqwestTransport::new(timer).unwrap();
    for path in ["/silent", "/half"] {
        let request = server.get(path).with_deadline(Duration::from_secs(7));
        let moving = async {
            server.heads.recv().await.unwrap();
            assert_eq!(test.clock.next_wake(), Some(Duration::from_secs(7)));
            test.clock.advance(Duration::from_secs(7));
        };
        let (answer, ()) = futures::join!(transport.send(request), moving);
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::Timeout, "{path}");
        assert!(!error.nothing_sent());
    }
}

#[tokio::test]
async fn answers_above_the_limit_are_refused_announced_or_not() {
    let body = "x".repeat(2_000);
    let announced = answer("200 OK", "", &body);
    let endless = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}").into_bytes();
    let server = Loopback::start(vec![Say::Bytes(announced), Say::Bytes(endless)]).await;
    let options = ReqwestOptions {
        answer_limit: 1_000,
        ..ReqwestOptions::default()
    };
    let transport = ReqwestTransport::with_options(real_timer(), options).unwrap();
    for path in ["/announced", "/endless"] {
        let error = transport.send(server.get(path)).await.unwrap_err();
        assert_eq!(error.kind(), TransportErrorKind::AnswerTooLarge, "{path}");
    }
}

#[tokio::test]
async fn redirects_within_the_server_are_followed_and_others_are_not() {
    let elsewhere = Loopback::start(vec![Say::Bytes(answer("200 OK", "", "stolen"))]).await;
    let away = format!("Location: http://{}/catch\r\n", elsewhere.address);
    let mut server = Loopback::start(vec![
        Say::Bytes(answer(
            "307 Temporary Redirect",
            "Location: /moved\r\nConnection: close\r\n",
            "",
        )),
        Say::Bytes(answer("200 OK", "", "here")),
        Say::Bytes(answer("307 Temporary Redirect", &away, "")),
    ])
    .await;
    let transport = transport();
    let response = transport.send(server.get("/old")).await.unwrap();
    assert_eq!(&response.body[..], b"here");
    let request = server
        .get("/away")
        .with_secret_header(header::AUTHORIZATION, "", &Secret::new("t0ken"))
        .unwrap();
    let response = transport.send(request).await.unwrap();
    assert_eq!(response.status, StatusCode::TEMPORARY_REDIRECT);
    for _ in 0..3 {
        server.heads.recv().await.unwrap();
    }
    let mut elsewhere = elsewhere;
    assert!(
        elsewhere.heads.try_recv().is_err(),
        "no request, and no token, went there"
    );
}

#[tokio::test]
async fn a_failed_request_is_not_sent_twice() {
    let mut server =
        Loopback::start(vec![Say::Bytes(Vec::new()), Say::Bytes(answer("200 OK", "", ""))]).await;
    transport().send(server.get("/")).await.unwrap_err();
    server.heads.recv().await.unwrap();
    assert!(server.heads.try_recv().is_err());
}

#[tokio::test]
async fn a_body_is_given_piece_by_piece_and_ends_with_at_most_one_error() {
    let whole = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc".to_vec();
    let cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec();
    let server = Loopback::start(vec![Say::Bytes(whole), Say::Bytes(cut)]).await;
    let stream = transport().open(server.get("/")).await.unwrap();
    let pieces: Vec<_> = stream.body.map(Result::unwrap).collect().await;
    assert_eq!(pieces.concat(), b"abc");
    let stream = transport().open(server.get("/")).await.unwrap();
    let pieces: Vec<_> = stream.body.collect().await;
    let (last, good) = pieces.split_last().unwrap();
    assert!(good.iter().all(Result::is_ok));
    assert_eq!(last.as_ref().unwrap_err().kind(), TransportErrorKind::Interrupted);
}

#[tokio::test]
async fn no_error_tells_the_url_or_a_header() {
    let secret = "s3cr3t-token";
    let address = nobody().await;
    let cut = Loopback::start(vec![Say::Bytes(Vec::new())]).await;
    for address in [address, cut.address] {
        let request = get(address, &format!("/?apikey={secret}"))
            .with_secret_header(header::AUTHORIZATION, "", &Secret::new(secret))
            .unwrap();
        let error = sync_core::SyncError::from(transport().send(request).await.unwrap_err());
        let mut shown = format!("{error} {error:?}");
        let mut cause = std::error::Error::source(&error);
        while let Some(deeper) = cause {
            shown.push_str(&format!(" {deeper} {deeper:?}"));
            cause = deeper.source();
        }
        assert!(!shown.contains(secret), "{shown}");
    }
}
