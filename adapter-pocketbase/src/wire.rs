//! What goes over the wire.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sync_core::{JsonObject, Timestamp};

/// One page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    pub(crate) items: Vec<JsonObject>,
    /// The size that the server really used; it cuts what was asked for in silence.
    pub(crate) per_page: u32,
    /// -1 if it was not asked for.
    #[serde(default)]
    pub(crate) total_items: i64,
    /// The server's time when it read the rows, or somewhat before; `None` if it does not tell.
    #[serde(skip)]
    pub(crate) asked_at: Option<Timestamp>,
}

impl Page {
    /// Whether the list may go on after this page.
    pub(crate) fn may_go_on(&self) -> bool {
        self.items.len() >= self.per_page as usize
    }
}

/// The body of an error, as far as it is one.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct ErrorBody {
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) data: Map<String, Value>,
    /// The status, which servers before 0.23 called otherwise; answers within a batch have no other.
    #[serde(default, alias = "code")]
    pub(crate) status: u16,
}

/// What is wrong with one field.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct FieldError {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) params: Map<String, Value>,
}

/// Requests that take effect together.
#[derive(Debug, Serialize)]
pub(crate) struct Batch<'r> {
    pub(crate) requests: &'r [&'r BatchRequest],
}

/// One request of a batch.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BatchRequest {
    pub(crate) method: &'static str,
    pub(crate) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<JsonObject>,
}

/// One answer of a batch that was applied.
#[derive(Debug, Deserialize)]
pub(crate) struct BatchAnswer {
    #[serde(default)]
    pub(crate) body: Option<JsonObject>,
}

/// The answer to a sign-in or a refresh.
#[derive(Deserialize)]
pub(crate) struct SignedIn {
    pub(crate) token: String,
}

/// The one record of a feed's view.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Meta {
    pub(crate) version: u32,
    pub(crate) epoch: String,
    pub(crate) seq: i64,
    pub(crate) nonce: String,
    pub(crate) floor: i64,
    pub(crate) now: String,
}

/// Data of a realtime event: only that there is one counts, save for the first of a stream.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connected {
    pub(crate) client_id: String,
}
