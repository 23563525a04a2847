//! Websockets, over TCP and TLS.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::{FutureExt, SinkExt, StreamExt};
use sync_core::Effects;
use sync_http::{
    TlsWebSocketConnector, TransportErrorKind, Url, WebSocket, WebSocketConnector, WebSocketMessage,
    WebSocketOptions, WebSocketRequest, header, testing::ScriptedSockets,
};
use sync_testkit::effects::TestEffects;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
    },
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

use crate::loopback::{Loopback, Say, answer, nobody};

type ServerSocket = WebSocketStream<TcpStream>;

fn request(scheme: &str, address: SocketAddr) -> WebSocketRequest {
    WebSocketRequest::new(Url::parse(&format!("{scheme}://localhost:{}/live", address.port())).unwrap())
}

fn connector() -> TlsWebSocketConnector {
    TlsWebSocketConnector::new(Effects::tokio(), WebSocketOptions::default()).unwrap()
}

/// A connected pair.
async fn pair(connector: &TlsWebSocketConnector) -> (Box<dyn WebSocket>, ServerSocket) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async { accept_async(listener.accept().await.unwrap().0).await.unwrap() };
    let (client, server) = futures::join!(connector.connect(request("ws", address)), accept);
    (client.unwrap(), server)
}

fn text(text: &str) -> WebSocketMessage {
    WebSocketMessage::Text(text.to_owned())
}

#[tokio::test]
async fn messages_go_both_ways_and_a_farewell_is_an_end() {
    let (mut client, mut server) = pair(&connector()).await;
    client.send(text("hello")).await.unwrap();
    assert_eq!(server.next().await.unwrap().unwrap(), Message::text("hello"));
    server.send(Message::text("world")).await.unwrap();
    server.send(Message::binary(vec![1, 2])).await.unwrap();
    assert_eq!(client.receive().await.unwrap(), Some(text("world")));
    assert_eq!(
        client.receive().await.unwrap(),
        Some(WebSocketMessage::Binary(vec![1, 2].into()))
    );
    server.close(None).await.unwrap();
    assert_eq!(client.receive().await.unwrap(), None);
}

#[tokio::test]
async fn an_end_without_a_farewell_is_a_cut() {
    let (mut client, server) = pair(&connector()).await;
    drop(server);
    assert_eq!(
        client.receive().await.unwrap_err().kind(),
        TransportErrorKind::Interrupted
    );
    assert!(client.send(text("too late")).await.is_err());
}

#[tokio::test]
async fn pings_are_answered_while_waiting_for_a_message() {
    let (mut client, mut server) = pair(&connector()).await;
    server.send(Message::Ping(vec![7].into())).await.unwrap();
    let (received, pong) = futures::join!(
        async {
            let received = client.receive().await;
            (received, client)
        },
        async {
            let pong = server.next().await.unwrap().unwrap();
            server.send(Message::text("done")).await.unwrap();
            pong
        }
    );
    assert_eq!(pong, Message::Pong(vec![7].into()));
    assert_eq!(received.0.unwrap(), Some(text("done")));
}

/// Lets virtual time pass by `wait` once the client sleeps for exactly that long.
async fn pass(test: &TestEffects, wait: Duration) {
    while test.clock.next_wake() != Some(wait) {
        tokio::task::yield_now().await;
    }
    test.clock.advance(wait);
}

#[tokio::test]
async fn a_silent_connection_is_pinged_and_then_given_up() {
    let test = TestEffects::tokio(1);
    let options = WebSocketOptions {
        // Apart from the waits, so that the test can tell them from each other.
        send_deadline: Duration::from_secs(3_600),
        ..WebSocketOptions::default()
    };
    let connector = TlsWebSocketConnector::new(test.effects(), options).unwrap();
    let (mut client, mut server) = pair(&connector).await;
    let silent = async {
        pass(&test, options.ping_after).await;
        // The answer to a ping goes out with the next write, and there is none.
        let ping = server.next().now_or_never();
        assert!(ping.is_none_or(|ping| ping.unwrap().unwrap().is_ping()));
        pass(&test, options.ping_after).await;
    };
    let (end, ()) = futures::join!(client.receive(), silent);
    assert_eq!(end.unwrap_err().kind(), TransportErrorKind::Timeout);
    drop(server);
}

#[tokio::test]
async fn a_connection_that_answers_pings_is_kept() {
    let test = TestEffects::tokio(1);
    let options = WebSocketOptions {
        send_deadline: Duration::from_secs(3_600),
        ..WebSocketOptions::default()
    };
    let connector = TlsWebSocketConnector::new(test.effects(), options).unwrap();
    let (mut client, mut server) = pair(&connector).await;
    let answering = async {
        for _ in 0..5 {
            pass(&test, options.ping_after).await;
            assert!(server.next().await.unwrap().unwrap().is_ping());
            // The wait for the answer is now shorter than a whole one, so that the test sees when a new one begins.
            test.clock.advance(Duration::from_secs(1));
            server.flush().await.unwrap();
        }
        server.send(Message::text("still here")).await.unwrap();
    };
    let (received, ()) = futures::join!(client.receive(), answering);
    assert_eq!(received.unwrap(), Some(text("still here")));
}

#[tokio::test]
async fn a_message_above_the_limit_is_refused() {
    let options = WebSocketOptions {
        message_limit: 100,
        ..WebSocketOptions::default()
    };
    let connector = TlsWebSocketConnector::new(Effects::tokio(), options).unwrap();
    let (mut client, mut server) = pair(&connector).await;
    server.send(Message::text("x".repeat(101))).await.unwrap();
    assert_eq!(
        client.receive().await.unwrap_err().kind(),
        TransportErrorKind::AnswerTooLarge
    );
}

#[tokio::test]
async fn a_dropped_wait_loses_no_message() {
    let (mut client, mut server) = pair(&connector()).await;
    for _ in 0..3 {
        assert!(client.receive().now_or_never().is_none());
    }
    server.send(Message::text("kept")).await.unwrap();
    assert_eq!(client.receive().await.unwrap(), Some(text("kept")));
}

#[tokio::test]
async fn connecting_fails_with_what_is_known() {
    let error = connector()
        .connect(request("ws", nobody().await))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::Connect, "{error}");
    let refusing = Loopback::start(vec![Say::Bytes(answer("401 Unauthorized", "", "{}"))]).await;
    let error = connector()
        .connect(request("ws", refusing.address))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), TransportErrorKind::InvalidAnswer);
    assert!(error.to_string().contains("401"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_the_handshake_meets_the_deadline() {
    let test = TestEffects::tokio(1);
    let connector = TlsWebSocketConnector::new(test.effects(), WebSocketOptions::default()).unwrap();
    let mut silent = Loopback::start(vec![Say::AndHold(Vec::new())]).await;
    let mut request = request("ws", silent.address);
    request.deadline = Duration::from_secs(5);
    request
        .headers
        .insert(header::ORIGIN, "http://app".parse().unwrap());
    let moving = async {
        let head = silent.heads.recv().await.unwrap();
        assert!(head.to_lowercase().contains("origin: http://app"), "{head}");
        test.clock.advance(Duration::from_secs(5));
    };
    let (answer, ()) = futures::join!(connector.connect(request), moving);
    assert_eq!(answer.unwrap_err().kind(), TransportErrorKind::Timeout);
}

/// Both TLS providers are compiled into this test, as they are in an app with several TLS users. A connector that
/// leaves the choice to the process default panics here.
#[tokio::test]
async fn tls_works_with_two_providers_compiled_in_and_checks_the_certificate() {
    assert!(
        tokio_rustls::rustls::crypto::CryptoProvider::get_default().is_none(),
        "no process default is set, nor needed"
    );
    let _second_provider = rustls::crypto::ring::default_provider();
    let certificate = CertificateDer::from(include_bytes!("certificates/server.der").to_vec());
    let key = PrivateKeyDer::try_from(include_bytes!("certificates/server-key.der").to_vec()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut encrypted) = acceptor.accept(connection).await else {
                    return;
                };
                let _ = encrypted.flush().await;
                let mut socket = accept_async(encrypted).await.unwrap();
                let message = socket.next().await.unwrap().unwrap();
                socket.send(message).await.unwrap();
            });
        }
    });
    let authority = include_bytes!("certificates/authority.der").to_vec();
    let trusting =
        TlsWebSocketConnector::with_extra_roots(Effects::tokio(), WebSocketOptions::default(), [authority])
            .unwrap();
    let mut client = trusting.connect(request("wss", address)).await.unwrap();
    client.send(text("over TLS")).await.unwrap();
    assert_eq!(client.receive().await.unwrap(), Some(text("over TLS")));

    let error = connector().connect(request("wss", address)).await.unwrap_err();
    assert_eq!(
        error.kind(),
        TransportErrorKind::Connect,
        "an authority nobody vouches for: {error}"
    );
}

#[tokio::test]
async fn scripted_sockets_play_the_other_side() {
    let sockets = ScriptedSockets::new();
    let mut peer = sockets.expect();
    sockets.refuse(TransportErrorKind::Timeout);
    let address = nobody().await;
    let mut client = sockets.connect(request("wss", address)).await.unwrap();
    client.send(text("join")).await.unwrap();
    assert_eq!(peer.next_text().await.as_deref(), Some("join"));
    peer.send_text("reply");
    peer.close();
    assert_eq!(client.receive().await.unwrap(), Some(text("reply")));
    assert_eq!(client.receive().await.unwrap(), None);
    drop(peer);
    assert!(client.receive().await.is_err());
    let refused = sockets.connect(request("wss", address)).await.unwrap_err();
    assert_eq!(refused.kind(), TransportErrorKind::Timeout);
    let unexpected = sockets.connect(request("wss", address)).await.unwrap_err();
    assert_eq!(unexpected.kind(), TransportErrorKind::Connect);
    assert_eq!(sockets.requests().len(), 3);
}
