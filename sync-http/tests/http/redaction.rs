//! No secret is shown anywhere.

use std::fmt::Debug;

use sync_core::SyncError;
use sync_http::{
    Credentials, HttpRequest, HttpResponse, Method, RedactedUrl, Secret, StatusCode, Url, WebSocketMessage,
    WebSocketRequest, header,
};

const TOKEN: &str = "s3cr3t-token";

fn shown(value: &impl Debug) -> String {
    format!("{value:?} {value:#?}")
}

#[test]
fn requests_and_answers_show_no_token_wherever_it_stands() {
    let url = Url::parse(&format!("https://user:{TOKEN}@host/p?apikey={TOKEN}&page=2")).unwrap();
    let request = HttpRequest::new(Method::POST, url.clone())
        .with_secret_header(header::AUTHORIZATION, "Bearer ", &Secret::new(TOKEN))
        .unwrap()
        .with_header(header::HeaderName::from_static("x-appwrite-session"), TOKEN)
        .unwrap()
        .with_header(header::COOKIE, TOKEN)
        .unwrap()
        .with_query([("access_token", TOKEN)])
        .with_json(&TOKEN)
        .unwrap();
    let text = shown(&request);
    assert!(!text.contains(TOKEN), "{text}");
    assert!(
        text.contains("page=2") && text.contains("POST"),
        "what is no secret is shown: {text}"
    );

    let mut response = HttpResponse::new(StatusCode::OK, TOKEN);
    response
        .headers
        .insert(header::SET_COOKIE, TOKEN.parse().unwrap());
    assert!(!shown(&response).contains(TOKEN), "{response:?}");

    let mut socket = WebSocketRequest::new(url.clone());
    socket.headers.insert("x-appwrite-key", TOKEN.parse().unwrap());
    assert!(!shown(&socket).contains(TOKEN), "{socket:?}");
    assert!(!shown(&WebSocketMessage::Text(TOKEN.to_owned())).contains(TOKEN));
    assert!(!RedactedUrl(&url).to_string().contains(TOKEN));
}

#[test]
fn a_header_that_is_marked_secret_is_hidden_whatever_its_name() {
    let request = HttpRequest::new(Method::GET, Url::parse("http://host/").unwrap())
        .with_secret_header(
            header::HeaderName::from_static("x-plain"),
            "",
            &Secret::new(TOKEN),
        )
        .unwrap();
    assert!(!shown(&request).contains(TOKEN));
}

#[test]
fn credentials_show_no_token() {
    let credentials = Credentials::new(TOKEN).with_refresh(TOKEN);
    assert!(!shown(&credentials).contains(TOKEN));
}

#[test]
fn a_token_that_no_header_can_hold_is_refused_without_being_told() {
    let bad = format!("{TOKEN}\n");
    let refused: SyncError = HttpRequest::new(Method::GET, Url::parse("http://host/").unwrap())
        .with_secret_header(header::AUTHORIZATION, "", &Secret::new(bad))
        .unwrap_err();
    assert_eq!(refused.field(), Some("authorization"));
    assert!(!shown(&refused).contains(TOKEN) && !refused.to_string().contains(TOKEN));
}

#[test]
fn a_json_web_token_tells_its_expiry_and_its_user() {
    // {"alg":"HS256"} . {"exp":1763711999,"id":"u1","type":"auth"} . signature
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3NjM3MTE5OTksImlkIjoidTEiLCJ0eXBlIjoiYXV0aCJ9.c2ln";
    let credentials = Credentials::from_jwt(token);
    assert_eq!(
        credentials.expires_at.map(|time| time.as_millis()),
        Some(1_763_711_999_000)
    );
    assert_eq!(credentials.subject.as_deref(), Some("u1"));
    assert_eq!(credentials.claim("type").as_deref(), Some("auth"));
    assert_eq!(credentials.claim("nothing"), None);
    let other = Credentials::from_jwt("not-a-jwt");
    assert_eq!((other.expires_at, other.subject), (None, None));
}
