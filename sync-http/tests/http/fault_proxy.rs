//! The proxy that the adapters' tests trust.

use std::time::Duration;

use sync_http::{
    HttpRequest, Method, ReqwestTransport, StatusCode, Transport, TransportErrorKind, Url,
    testing::{FaultProxy, ProxyFault},
};

use crate::loopback::{Loopback, Say, answer, nobody, real_timer};

async fn proxied(script: Vec<Say>) -> (Loopback, FaultProxy, ReqwestTransport) {
    let server = Loopback::start(script).await;
    let proxy = FaultProxy::start(server.address, real_timer()).await.unwrap();
    (server, proxy, ReqwestTransport::new(real_timer()).unwrap())
}

fn ok(body: &str) -> Say {
    Say::Bytes(answer("200 OK", "", body))
}

fn to(proxy: &FaultProxy, path: &str) -> HttpRequest {
    let url = Url::parse(&format!("{}{path}", proxy.url())).unwrap();
    HttpRequest::new(Method::POST, url).with_json("hello").unwrap()
}

#[tokio::test]
async fn without_faults_requests_go_through_and_are_counted() {
    let (mut server, proxy, transport) = proxied(vec![ok("1"), ok("2")]).await;
    for (path, body) in [("/a?x=1", "1"), ("/b", "2")] {
        let response = transport.send(to(&proxy, path)).await.unwrap();
        assert_eq!(
            (response.status, &response.body[..]),
            (StatusCode::OK, body.as_bytes())
        );
        assert!(
            server
                .heads
                .recv()
                .await
                .unwrap()
                .starts_with(&format!("POST {path} "))
        );
    }
    let requests = proxy.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(
        (
            requests[0].method.as_str(),
            requests[0].path.as_str(),
            &requests[0].body[..]
        ),
        ("POST", "/a?x=1", &br#""hello""#[..])
    );
}

#[tokio::test]
async fn a_dropped_answer_had_its_effect_and_a_dropped_request_had_none() {
    let (mut server, proxy, transport) = proxied(vec![ok("1")]).await;
    proxy.next(ProxyFault::DropRequest);
    let error = transport.send(to(&proxy, "/a")).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Interrupted);
    assert!(server.heads.try_recv().is_err());
    proxy.next(ProxyFault::DropAnswer);
    let error = transport.send(to(&proxy, "/a")).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Interrupted);
    assert!(server.heads.try_recv().is_ok(), "the server has answered by now");
}

#[tokio::test]
async fn answers_are_cut_replaced_and_made_up() {
    let (mut server, proxy, transport) = proxied(vec![ok("1"), ok("2")]).await;
    proxy.next(ProxyFault::CutAnswerAfter(30));
    let error = transport.send(to(&proxy, "/a")).await.unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Interrupted);
    let gateway = |status| ProxyFault::ReplaceAnswer {
        status,
        body: "{}".to_owned(),
    };
    proxy.next(gateway(502));
    assert_eq!(transport.send(to(&proxy, "/b")).await.unwrap().status, 502);
    for _ in 0..2 {
        server.heads.recv().await.unwrap();
    }
    proxy.next(ProxyFault::Answer {
        status: 429,
        body: String::new(),
    });
    assert_eq!(transport.send(to(&proxy, "/c")).await.unwrap().status, 429);
    assert!(server.heads.try_recv().is_err());
}

#[tokio::test]
async fn a_fault_waits_for_the_request_it_is_meant_for() {
    let (_server, proxy, transport) = proxied(vec![ok("1"), ok("2")]).await;
    proxy.next_call("POST", "/batch", ProxyFault::DropAnswer);
    assert!(transport.send(to(&proxy, "/records")).await.is_ok());
    assert_eq!(proxy.faults_left(), 1);
    assert!(transport.send(to(&proxy, "/batch")).await.is_err());
    assert_eq!(proxy.faults_left(), 0);
}

#[tokio::test]
async fn offline_means_no_connection_and_open_ones_are_cut() {
    let held = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf".to_vec();
    let (mut server, proxy, transport) = proxied(vec![Say::AndHold(held), ok("back")]).await;
    let cut = async {
        server.heads.recv().await.unwrap();
        proxy.go_offline();
    };
    let (answer, ()) = futures::join!(transport.send(to(&proxy, "/a")), cut);
    assert_eq!(answer.unwrap_err().kind(), TransportErrorKind::Interrupted);
    assert!(transport.send(to(&proxy, "/b")).await.is_err());
    proxy.go_online();
    assert_eq!(&transport.send(to(&proxy, "/c")).await.unwrap().body[..], b"back");
}

#[tokio::test]
async fn a_server_that_is_down_is_a_bad_gateway_and_may_come_back_elsewhere() {
    let (server, proxy, transport) = proxied(vec![ok("here")]).await;
    proxy.set_upstream(nobody().await);
    assert_eq!(transport.send(to(&proxy, "/a")).await.unwrap().status, 502);
    proxy.set_upstream(server.address);
    proxy.next(ProxyFault::Delay(Duration::from_millis(1)));
    assert_eq!(&transport.send(to(&proxy, "/b")).await.unwrap().body[..], b"here");
}
