//! Realtime: connections, subscriptions, and the events of writes.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::event::{event_channels, event_names};
use crate::exchange::{Request, parse_query};
use crate::machine::{Machine, Place};
use crate::permission::{Action, Principal};
use crate::query::{Collation, Filter};
use crate::quirk::Quirk;
use crate::row::Row;

/// What a write did to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Create,
    Update,
    Upsert,
    Delete,
}

impl Change {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Upsert => "upsert",
            Self::Delete => "delete",
        }
    }
}

/// The kind of request that made a change; the payloads differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventOrigin {
    Single,
    Bulk,
    Committed,
}

/// A connection of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// What the server sends to a listener.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A message.
    Message(Value),
    /// The end of the connection, with a close frame or without one.
    Close {
        /// Whether a close frame is sent before the stream ends.
        with_frame: bool,
    },
}

/// How realtime misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RealtimeFault {
    /// Not at all.
    #[default]
    None,
    /// Events are never sent.
    Silence,
    /// Each event is sent twice.
    Duplicate,
    /// Each event waits for the next one and is sent after it.
    Reorder,
}

#[derive(Debug, Clone)]
struct Subscription {
    id: String,
    channels: Vec<String>,
    filters: Vec<Filter>,
    queries: Vec<String>,
}

impl Subscription {
    fn hears(&self, channels: &[String], row: &Row) -> bool {
        let exact = Collation {
            text_ignores_case: false,
            ids_ignore_case: false,
        };
        self.channels.iter().any(|channel| channels.contains(channel))
            && self.filters.iter().all(|filter| filter.matches(row, exact))
    }
}

#[derive(Debug, Default)]
struct Connection {
    user: Option<String>,
    subscriptions: Vec<Subscription>,
    outbox: VecDeque<Frame>,
    waiting: Option<Frame>,
}

/// All connections, and how they misbehave.
#[derive(Debug, Default)]
pub(crate) struct Realtime {
    connections: BTreeMap<ConnectionId, Connection>,
    last: u64,
    pub(crate) fault: RealtimeFault,
    /// So many events are lost from now on.
    pub(crate) drop_next: usize,
}

impl Realtime {
    /// Ends all connections.
    pub(crate) fn close_all(&mut self, with_frame: bool) {
        for connection in self.connections.values_mut() {
            connection.outbox.push_back(Frame::Close { with_frame });
        }
    }

    pub(crate) fn connection_count(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn subscription_count(&self) -> usize {
        self.connections
            .values()
            .map(|connection| connection.subscriptions.len())
            .sum()
    }

    fn deliver(&mut self, id: ConnectionId, frame: Frame) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if self.drop_next > 0 {
            self.drop_next -= 1;
            return;
        }
        match self.fault {
            RealtimeFault::None => connection.outbox.push_back(frame),
            RealtimeFault::Silence => {}
            RealtimeFault::Duplicate => {
                connection.outbox.push_back(frame.clone());
                connection.outbox.push_back(frame);
            }
            RealtimeFault::Reorder => match connection.waiting.take() {
                None => connection.waiting = Some(frame),
                Some(earlier) => connection.outbox.extend([frame, earlier]),
            },
        }
    }
}

fn error_frame(code: u16, message: &str) -> Frame {
    Frame::Message(json!({"type": "error", "data": {"code": code, "message": message}}))
}

impl Machine {
    /// Opens a connection to `/v1/realtime`; the first frames wait in it.
    pub fn connect(&mut self, request: &Request) -> ConnectionId {
        self.realtime.last += 1;
        let id = ConnectionId(self.realtime.last);
        let mut connection = Connection::default();
        if request
            .parameter("project")
            .is_some_and(|project| project != self.project)
        {
            connection
                .outbox
                .push_back(error_frame(1008, "Missing or unknown project ID"));
            let with_frame = !self.has(Quirk::RealtimeClosesWithoutFrame);
            connection.outbox.push_back(Frame::Close { with_frame });
            self.realtime.connections.insert(id, connection);
            return id;
        }
        let now = self.clock.now();
        let jwt = request.parameter("jwt").map(str::to_owned);
        let asked = match jwt {
            Some(jwt) => Request::new("GET", "/v1/realtime").header("x-appwrite-jwt", &jwt),
            None => request.clone(),
        };
        if let Ok(Principal::User { id: user, .. }) = self.identify(&asked, now) {
            connection.user = Some(user);
        }
        connection.subscriptions = self.subscriptions_of(&request.query);
        let mut channels: Vec<&String> = connection
            .subscriptions
            .iter()
            .flat_map(|subscription| &subscription.channels)
            .collect();
        channels.sort();
        channels.dedup();
        let ids: Vec<&String> = connection
            .subscriptions
            .iter()
            .map(|subscription| &subscription.id)
            .collect();
        let user = connection
            .user
            .as_ref()
            .and_then(|user| self.accounts.users.get(user));
        let user = user.map_or(Value::Null, crate::account::User::show);
        let hello = json!({"channels": channels, "subscriptions": ids, "user": user});
        connection
            .outbox
            .push_back(Frame::Message(json!({"type": "connected", "data": hello})));
        self.realtime.connections.insert(id, connection);
        id
    }

    /// The subscriptions in the query of a connection: `channels[]`, and `<channel>[<slot>][]` with a query
    /// each.
    fn subscriptions_of(&mut self, parameters: &[(String, String)]) -> Vec<Subscription> {
        let mut slots: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
        let mut plain = Vec::new();
        for (name, value) in parameters {
            if name.starts_with("channels[") {
                plain.push(value.clone());
            } else if let Some((channel, rest)) = name.split_once('[')
                && let Some((slot, _)) = rest.split_once("][")
            {
                let (channels, queries) = slots.entry(slot.to_owned()).or_default();
                if !channels.iter().any(|known| known == channel) {
                    channels.push(channel.to_owned());
                }
                queries.push(value.clone());
            }
        }
        plain.retain(|channel| !slots.values().any(|(channels, _)| channels.contains(channel)));
        if !plain.is_empty() {
            slots.insert("channels".to_owned(), (plain, Vec::new()));
        }
        let mut subscriptions = Vec::new();
        for (channels, queries) in slots.into_values() {
            if let Some((filters, queries)) = parse_filters(&queries) {
                subscriptions.push(Subscription {
                    id: self.ids.next(),
                    channels,
                    filters,
                    queries,
                });
            }
        }
        subscriptions
    }

    /// Takes a message of a listener.
    pub fn receive(&mut self, id: ConnectionId, text: &str) {
        let answer = self
            .react(id, text)
            .unwrap_or_else(|| error_frame(1003, "Error: Server Error"));
        if let Some(connection) = self.realtime.connections.get_mut(&id) {
            connection.outbox.push_back(answer);
        }
    }

    fn react(&mut self, id: ConnectionId, text: &str) -> Option<Frame> {
        let message: Value = serde_json::from_str(text).ok()?;
        let data = message.get("data").cloned().unwrap_or_default();
        let answer = match message.get("type")?.as_str()? {
            "ping" => return Some(Frame::Message(json!({"type": "pong"}))),
            "authentication" => {
                let now = self.clock.now();
                let user = self
                    .accounts
                    .user_of_session(data.get("session")?.as_str()?, now)?;
                let (user_id, shown) = (user.id.clone(), user.show());
                self.realtime.connections.get_mut(&id)?.user = Some(user_id);
                json!({"to": "authentication", "success": true, "user": shown})
            }
            "subscribe" => {
                let mut shown = Vec::new();
                for asked in data.as_array()? {
                    let subscription = self.subscription(asked)?;
                    shown.push(json!({
                        "subscriptionId": subscription.id,
                        "channels": subscription.channels,
                        "queries": subscription.queries,
                    }));
                    let connection = self.realtime.connections.get_mut(&id)?;
                    connection
                        .subscriptions
                        .retain(|other| other.id != subscription.id);
                    connection.subscriptions.push(subscription);
                }
                json!({"to": "subscribe", "success": true, "subscriptions": shown})
            }
            "unsubscribe" => {
                let mut shown = Vec::new();
                let connection = self.realtime.connections.get_mut(&id)?;
                for asked in data.as_array()? {
                    let name = asked.get("subscriptionId")?.as_str()?;
                    let before = connection.subscriptions.len();
                    connection.subscriptions.retain(|other| other.id != name);
                    let removed = connection.subscriptions.len() < before;
                    shown.push(json!({"subscriptionId": name, "removed": removed}));
                }
                json!({"to": "unsubscribe", "success": true, "subscriptions": shown})
            }
            _ => return None,
        };
        Some(Frame::Message(json!({"type": "response", "data": answer})))
    }

    fn subscription(&mut self, asked: &Value) -> Option<Subscription> {
        let texts = |name: &str| -> Vec<String> {
            let list = asked.get(name).and_then(Value::as_array);
            list.into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let id = asked
            .get("subscriptionId")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let (filters, queries) = parse_filters(&texts("queries"))?;
        let id = id.unwrap_or_else(|| self.ids.next());
        Some(Subscription {
            id,
            channels: texts("channels"),
            filters,
            queries,
        })
    }

    /// Takes the frames that wait for a listener.
    pub fn take_frames(&mut self, id: ConnectionId) -> Vec<Frame> {
        let connection = self.realtime.connections.get_mut(&id);
        connection
            .map(|connection| connection.outbox.drain(..).collect())
            .unwrap_or_default()
    }

    /// Forgets a connection.
    pub fn disconnect(&mut self, id: ConnectionId) {
        self.realtime.connections.remove(&id);
    }

    /// Tells the listeners of a change.
    pub(crate) fn publish(&mut self, place: &Place, row: &Row, change: Change, origin: EventOrigin) {
        let Ok(table) = self.table(place) else { return };
        let mut readable = table.permissions.clone();
        if table.row_security {
            readable.extend(row.permissions.iter().cloned());
        }
        let payload = self.payload(place, row, origin);
        let timestamp = self.clock.now().to_wire();
        let channels = event_channels(place, &row.id, change);
        let names = event_names(place, &row.id, change, origin);
        let mut deliveries = Vec::new();
        for (id, connection) in &self.realtime.connections {
            let listener = match &connection.user {
                Some(user) => self.accounts.principal_of(user),
                None => Principal::Guest,
            };
            let heard: Vec<&String> = connection
                .subscriptions
                .iter()
                .filter(|subscription| subscription.hears(&channels, row))
                .map(|subscription| &subscription.id)
                .collect();
            if heard.is_empty() || !listener.may(Action::Read, &readable) {
                continue;
            }
            let data = json!({
                "events": names,
                "channels": channels,
                "timestamp": timestamp,
                "payload": payload,
                "subscriptions": heard,
            });
            deliveries.push((*id, Frame::Message(json!({"type": "event", "data": data}))));
        }
        for (id, frame) in deliveries {
            self.realtime.deliver(id, frame);
        }
    }

    fn payload(&self, place: &Place, row: &Row, origin: EventOrigin) -> Value {
        let mut payload = self.row_form(place).show(row);
        let internal = self
            .database(&place.database)
            .and_then(|database| Ok(database.internal_name(database.table(&place.table)?)))
            .unwrap_or_default();
        match origin {
            EventOrigin::Bulk if self.has(Quirk::BulkPayloadLeaksCollection) => {
                payload["$collection"] = json!(internal);
            }
            EventOrigin::Committed if self.has(Quirk::CommittedPayloadDiffers) => {
                payload["$collection"] = json!(internal);
                payload["$collectionId"] = json!(place.table);
                if let Some(fields) = payload.as_object_mut() {
                    fields.remove("$databaseId");
                }
            }
            _ => {}
        }
        payload
    }
}

/// Reads the queries of a subscription, beside their texts as the server repeats them. `select("*")` filters
/// nothing.
fn parse_filters(texts: &[String]) -> Option<(Vec<Filter>, Vec<String>)> {
    let mut filters = Vec::new();
    let mut shown = Vec::new();
    for text in texts {
        let parsed: Value = serde_json::from_str(text).ok()?;
        let part = |name: &str| parsed.get(name).cloned().unwrap_or_default();
        if parsed.get("method")?.as_str()? == "select" {
            let everything = part("values") == json!(["*"]);
            everything.then_some(())?;
        } else {
            filters.push(Filter::parse_for_events(&parsed)?);
        }
        let (method, attribute, values) = (part("method"), part("attribute"), part("values"));
        shown.push(format!(
            "{{\"method\":{method},\"attribute\":{attribute},\"values\":{values}}}"
        ));
    }
    Some((filters, shown))
}

/// A request for a realtime connection, from the query of its address.
#[must_use]
pub fn realtime_request(query: &str) -> Request {
    let mut request = Request::new("GET", "/v1/realtime");
    request.query = parse_query(query);
    request
}
