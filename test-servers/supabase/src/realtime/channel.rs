//! One joined channel of a socket.

use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::Instant;

use super::{access, frames::Frame};

/// A subscription to changes of a table.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    id: u64,
    event: String,
    schema: String,
    table: String,
    filter: Option<(String, String)>,
}

#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) topic: String,
    pub(super) join_ref: Value,
    pub(super) claims: Value,
    /// Whether it was joined as a private one; each kind hears only what is sent to it.
    pub(super) private: bool,
    pub(super) subscriptions: Vec<Subscription>,
    /// When changes of tables begin to arrive; `None` once they do.
    pub(super) begins: Option<Instant>,
}

impl Channel {
    /// The topic without the prefix that clients put before it.
    pub(super) fn name(&self) -> &str {
        self.topic.strip_prefix("realtime:").unwrap_or(&self.topic)
    }

    pub(super) fn message(&self, event: &str, payload: Value) -> Frame {
        Frame {
            join_ref: self.join_ref.clone(),
            reference: Value::Null,
            topic: self.topic.clone(),
            event: event.to_owned(),
            payload,
        }
    }

    pub(super) fn system(&self, extension: &str, status: &str, message: &str) -> Frame {
        let payload =
            json!({"extension": extension, "status": status, "message": message, "channel": self.name()});
        self.message("system", payload)
    }

    /// The message for a change of a row, if this channel asked for it and its user may see it.
    pub(super) async fn change(&self, pool: &PgPool, change: &Value) -> Option<Frame> {
        if self.begins.is_some() {
            return None;
        }
        let ids: Vec<_> = (self.subscriptions.iter())
            .filter(|subscription| subscription.fits(change))
            .map(|subscription| subscription.id)
            .collect();
        if ids.is_empty() {
            return None;
        }
        let mut data = change.clone();
        data["errors"] = Value::Null;
        if change["type"] == "DELETE" {
            // Policies cannot be asked about a row that is gone: only its key is told.
            data["old_record"] = json!({"id": change["old_record"]["id"]});
        } else {
            let (schema, table) = (change["schema"].as_str()?, change["table"].as_str()?);
            let seen = access::may_see(pool, &self.claims, schema, table, &change["record"]).await;
            if !seen.is_ok_and(|seen| seen) {
                return None;
            }
        }
        Some(self.message("postgres_changes", json!({"ids": ids, "data": data})))
    }
}

impl Subscription {
    /// The subscriptions that a join asks for.
    pub(super) fn of(config: &Value, mut next_id: impl FnMut() -> u64) -> Vec<Self> {
        let asked = config["postgres_changes"].as_array().cloned().unwrap_or_default();
        let read = |wanted: &Value| {
            let text = |name: &str| wanted[name].as_str().unwrap_or_default().to_owned();
            let filter = text("filter");
            let filter = filter
                .split_once("=eq.")
                .map(|(column, value)| (column.to_owned(), value.to_owned()));
            Self {
                id: next_id(),
                event: text("event"),
                schema: text("schema"),
                table: text("table"),
                filter,
            }
        };
        asked.iter().map(read).collect()
    }

    pub(super) fn answer(&self) -> Value {
        let mut answer =
            json!({"id": self.id, "event": self.event, "schema": self.schema, "table": self.table});
        if let Some((column, value)) = &self.filter {
            answer["filter"] = json!(format!("{column}=eq.{value}"));
        }
        answer
    }

    fn fits(&self, change: &Value) -> bool {
        let is = |name: &str, wanted: &str| wanted.is_empty() || wanted == "*" || change[name] == wanted;
        let row = match change["type"].as_str() {
            Some("DELETE") => &change["old_record"],
            _ => &change["record"],
        };
        let filtered = self
            .filter
            .as_ref()
            .is_none_or(|(column, value)| match &row[column] {
                Value::String(text) => text == value,
                other => value.parse::<Value>().is_ok_and(|value| value == *other),
            });
        is("type", &self.event) && is("schema", &self.schema) && is("table", &self.table) && filtered
    }
}
