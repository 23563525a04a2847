//! What to join for the news of a scope, and what the frames of that channel mean.

use serde_json::{Value, json};
use sync_core::{CollectionName, Poke, ScopeKey};
use sync_http::Credentials;

use super::frame::Frame;

/// Changes of one table that a channel announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WatchedTable {
    pub(crate) schema: String,
    pub(crate) table: String,
    /// A column and the value that it has in rows of interest.
    pub(crate) only: Option<(String, String)>,
    /// Whose news it is; `None` if that cannot be told.
    pub(crate) collection: Option<CollectionName>,
}

/// A channel with the news of one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(super) topic: String,
    private: bool,
    tables: Vec<WatchedTable>,
}

/// What a frame of the server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Something to pull.
    Poke(Poke),
    /// The channel is of no use any more.
    Ended,
    /// Nothing about this channel.
    Nothing,
}

impl Channel {
    /// The private channel on which the feed broadcasts from the database.
    pub(crate) fn of_feed(scope: &ScopeKey) -> Self {
        Self {
            topic: format!("realtime:sync:{scope}"),
            private: true,
            tables: Vec::new(),
        }
    }

    /// A public channel with the changes of tables.
    pub(crate) fn of_tables(scope: &ScopeKey, tables: Vec<WatchedTable>) -> Self {
        Self {
            topic: format!("realtime:sync-tables:{scope}"),
            private: false,
            tables,
        }
    }

    /// What a client sends to join.
    pub(super) fn join(&self, credentials: Option<&Credentials>) -> Value {
        let changes: Vec<Value> = self.tables.iter().map(WatchedTable::subscription).collect();
        let mut payload = json!({"config": {
            "broadcast": {"ack": false, "self": false},
            "presence": {"key": "", "enabled": false},
            "postgres_changes": changes,
            "private": self.private,
        }});
        if let Some(credentials) = credentials {
            payload["access_token"] = credentials.access.reveal().into();
        }
        payload
    }

    pub(super) fn news(&self, frame: &Frame) -> News {
        if frame.topic != self.topic {
            return News::Nothing;
        }
        let payload = &frame.payload;
        match frame.event.as_str() {
            "broadcast" if payload["event"] == "poke" => News::Poke(Poke::Changed(None)),
            "postgres_changes" => News::Poke(Poke::Changed(self.changed(&payload["data"]))),
            // Only now do changes of tables arrive: what was written since the join was not told.
            "system" if payload["status"] == "ok" => News::Poke(Poke::Changed(None)),
            "system" if payload["status"] == "error" => News::Ended,
            "phx_close" | "phx_error" => News::Ended,
            _ => News::Nothing,
        }
    }

    fn changed(&self, data: &Value) -> Option<CollectionName> {
        let mut watched = self.tables.iter();
        let table =
            watched.find(|watched| data["schema"] == *watched.schema && data["table"] == *watched.table)?;
        table.collection.clone()
    }
}

impl WatchedTable {
    fn subscription(&self) -> Value {
        let mut subscription = json!({"event": "*", "schema": self.schema, "table": self.table});
        if let Some((column, value)) = &self.only {
            subscription["filter"] = format!("{column}=eq.{value}").into();
        }
        subscription
    }
}

#[cfg(test)]
mod tests {
    use sync_core::SyncScope;

    use super::*;

    fn key() -> ScopeKey {
        SyncScope::new("team").unwrap().key().clone()
    }

    fn tables() -> Channel {
        let watched = WatchedTable {
            schema: "public".to_owned(),
            table: "todo".to_owned(),
            only: Some(("list".to_owned(), "a,b=c".to_owned())),
            collection: Some(CollectionName::new("todos").unwrap()),
        };
        Channel::of_tables(&key(), vec![watched])
    }

    fn frame(channel: &Channel, event: &str, payload: Value) -> Frame {
        Frame {
            join_ref: None,
            reference: None,
            topic: channel.topic.clone(),
            event: event.to_owned(),
            payload,
        }
    }

    #[test]
    fn a_channel_is_joined_with_the_users_token_and_never_with_a_key() {
        let channel = Channel::of_feed(&key());
        assert_eq!(channel.topic, "realtime:sync:team");
        let payload = channel.join(Some(&Credentials::new("a.b.c")));
        assert_eq!(
            (&payload["access_token"], &payload["config"]["private"]),
            (&json!("a.b.c"), &json!(true))
        );
        assert_eq!(channel.join(None).get("access_token"), None);
        assert_eq!(
            tables().join(None)["config"]["postgres_changes"],
            json!([{"event": "*", "schema": "public", "table": "todo", "filter": "list=eq.a,b=c"}])
        );
    }

    #[test]
    fn frames_mean_pokes_the_end_or_nothing() {
        let (feed, tables) = (Channel::of_feed(&key()), tables());
        let change = |table: &str| json!({"ids": [1], "data": {"schema": "public", "table": table}});
        let todos = CollectionName::new("todos").unwrap();
        for (channel, event, payload, expected) in [
            (
                &feed,
                "broadcast",
                json!({"event": "poke", "payload": {"seq": 3}}),
                News::Poke(Poke::Changed(None)),
            ),
            (&feed, "broadcast", json!({"event": "chat"}), News::Nothing),
            (&feed, "presence_state", json!({}), News::Nothing),
            (
                &tables,
                "postgres_changes",
                change("todo"),
                News::Poke(Poke::Changed(Some(todos))),
            ),
            (
                &tables,
                "postgres_changes",
                change("other"),
                News::Poke(Poke::Changed(None)),
            ),
            (
                &tables,
                "system",
                json!({"status": "ok"}),
                News::Poke(Poke::Changed(None)),
            ),
            (&tables, "system", json!({"status": "error"}), News::Ended),
            (&feed, "phx_close", json!({}), News::Ended),
            (&feed, "phx_error", json!({}), News::Ended),
        ] {
            assert_eq!(
                channel.news(&frame(channel, event, payload.clone())),
                expected,
                "{event} {payload}"
            );
            let elsewhere = Frame {
                topic: "realtime:other".to_owned(),
                ..frame(channel, event, payload)
            };
            assert_eq!(channel.news(&elsewhere), News::Nothing, "{event}");
        }
    }
}
