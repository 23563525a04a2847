//! The realtime websocket, fed by notifications of the database.

mod access;
mod channel;
mod frames;
mod socket;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgListener};
use tokio::sync::broadcast;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use crate::{
    error::StackError,
    gateway::{Gateway, PUBLISHABLE_KEY, SECRET_KEY},
    http::{Answer, Response},
};
use frames::Serializer;

/// How many events a slow socket may lag behind before it misses some, as it may with the real one.
const LAG: usize = 1_024;

/// What reaches the sockets.
#[derive(Clone, Debug)]
enum News {
    /// Something was sent to a topic.
    Broadcast {
        topic: String,
        event: String,
        payload: Value,
        private: bool,
    },
    /// A row of a published table changed.
    Change(Arc<Value>),
    /// Every socket ends, without a closing handshake.
    Kill,
}

/// The realtime server of a stack.
#[derive(Debug)]
pub struct Realtime {
    pool: PgPool,
    news: broadcast::Sender<News>,
    swallows: AtomicBool,
    swallowed: AtomicUsize,
    sockets: AtomicUsize,
    joined: Mutex<Vec<String>>,
    refusal: Mutex<Option<String>>,
    replication_delay: Mutex<Duration>,
}

impl Realtime {
    pub(crate) fn new(pool: PgPool) -> Arc<Self> {
        Arc::new(Self {
            pool,
            news: broadcast::Sender::new(LAG),
            swallows: AtomicBool::new(false),
            swallowed: AtomicUsize::new(0),
            sockets: AtomicUsize::new(0),
            joined: Mutex::default(),
            refusal: Mutex::default(),
            replication_delay: Mutex::default(),
        })
    }

    /// Ends every socket at once, as a lost network does.
    pub fn kill_sockets(&self) {
        self.announce(News::Kill);
    }

    /// From now on, news do not reach anybody, or do again.
    pub fn swallow_pokes(&self, swallow: bool) {
        self.swallows.store(swallow, Ordering::SeqCst);
    }

    /// How many news were swallowed so far.
    pub fn swallowed(&self) -> usize {
        self.swallowed.load(Ordering::SeqCst)
    }

    /// Refuses joins with this reason, or no longer if `None`.
    pub fn refuse_joins(&self, reason: Option<&str>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = reason.map(str::to_owned);
    }

    /// How long after a join changes of tables begin to arrive. Not at all later unless set.
    pub fn set_replication_delay(&self, delay: Duration) {
        *self
            .replication_delay
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = delay;
    }

    /// How many sockets are open.
    pub fn sockets(&self) -> usize {
        self.sockets.load(Ordering::SeqCst)
    }

    /// The topics that are joined now, without `realtime:`, once for each channel.
    pub fn joined(&self) -> Vec<String> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn announce(&self, news: News) {
        // An error only says that there is no socket.
        let _ = self.news.send(news);
    }

    /// Passes on what the database sends, until the task is aborted or the database is gone.
    pub(crate) async fn listen(self: Arc<Self>, mut listener: PgListener) {
        while let Ok(notification) = listener.recv().await {
            if self.swallows.load(Ordering::SeqCst) {
                self.swallowed.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let Ok(body) = serde_json::from_str::<Value>(notification.payload()) else {
                continue;
            };
            self.announce(match notification.channel() {
                "stack_change" => News::Change(Arc::new(body)),
                _ => News::Broadcast {
                    topic: body["topic"].as_str().unwrap_or_default().to_owned(),
                    event: body["event"].as_str().unwrap_or_default().to_owned(),
                    private: body["private"] == true,
                    payload: body["payload"].clone(),
                },
            });
        }
    }

    pub(crate) async fn listener(pool: &PgPool) -> Result<PgListener, StackError> {
        let mut listener = PgListener::connect_with(pool)
            .await
            .map_err(StackError::sql("listening to the database"))?;
        listener
            .listen_all(["stack_broadcast", "stack_change"])
            .await
            .map_err(StackError::sql("listening to the database"))?;
        Ok(listener)
    }

    /// Answers the request for a websocket.
    pub(crate) fn accept(
        self: Arc<Self>,
        mut request: hyper::Request<Incoming>,
        gateway: &Arc<Gateway>,
    ) -> io::Result<Response> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let in_query = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .into_iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.to_owned())
        };
        gateway.requests.add(crate::record::Recorded {
            method: "GET".to_owned(),
            path: request.uri().to_string(),
            apikey: in_query("apikey"),
            authorization: None,
            prefer: None,
            body: String::new(),
        });
        if gateway.faults.take(request.uri().path()).is_some() {
            return Err(io::Error::other("the connection is dropped"));
        }
        let refuse = |reason: &str| Ok(Answer::json(401, &json!({"error": reason})).into_response());
        let role = match in_query("apikey").as_deref() {
            Some(PUBLISHABLE_KEY) => "anon",
            Some(SECRET_KEY) => "service_role",
            Some(_) => return refuse("Invalid API key"),
            None => return refuse("API key is missing"),
        };
        let serializer = match in_query("vsn").as_deref() {
            Some("2.0.0") => Serializer::V2,
            _ => Serializer::V1,
        };
        let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() else {
            return Ok(Answer::json(426, &json!({"error": "a websocket is needed"})).into_response());
        };
        // Subscribed before the answer, so that nothing is missed in between.
        let news = self.news.subscribe();
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let Ok(upgraded) = hyper::upgrade::on(&mut request).await else {
                return;
            };
            let stream = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            self.sockets.fetch_add(1, Ordering::SeqCst);
            socket::run(&self, &gateway, stream, news, serializer, role).await;
            self.sockets.fetch_sub(1, Ordering::SeqCst);
        });
        let accept = derive_accept_key(key.as_bytes());
        hyper::Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(CONNECTION, HeaderValue::from_static("Upgrade"))
            .header(UPGRADE, HeaderValue::from_static("websocket"))
            .header(SEC_WEBSOCKET_ACCEPT, accept)
            .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
            .map_err(io::Error::other)
    }
}
