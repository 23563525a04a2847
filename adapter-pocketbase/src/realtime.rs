//! News of changes.
//!
//! The server's event stream carries no order, replays nothing and forgets what happened before the subscription
//! stood. So an event only says that there is something to pull.

use std::sync::Arc;

use futures::{
    StreamExt,
    future::{Either, select},
    stream::{self, BoxStream},
};
use serde_json::json;
use sync_core::{CollectionName, ErrorKind, Poke, Result, SyncError, SyncScope};
use sync_http::{HttpRequest, Method, SseEvent, SseOptions, SseStream, StatusCode, TransportError};

use crate::{
    client::Caller,
    error::{ADAPTER, Refusal},
    filter,
    remote::Inner,
    wire::Connected,
};

impl Inner {
    /// Subscribes to the collections that have the scope. The stream ends when the server ends it, which it does
    /// after five minutes without an event.
    pub(crate) async fn subscribe(
        &self,
        caller: &Caller<'_>,
        scope: &SyncScope,
    ) -> Result<BoxStream<'static, Poke>> {
        let mut topics = Vec::new();
        let mut collections = Vec::new();
        let mut unfit = None;
        for table in self.tables.values() {
            match filter::of_scope(&table.mapping, scope) {
                Ok(_) => {
                    topics.push(format!("{}/*", table.table_name()));
                    collections.push((topics[topics.len() - 1].clone(), table.mapping.name.clone()));
                }
                Err(error) => unfit = Some(error),
            }
        }
        if let (true, Some(error)) = (topics.is_empty(), unfit) {
            return Err(error);
        }

        // A bad token would subscribe as a guest, in silence.
        caller.ensure_signed_in().await?;
        let mut events = self.connect_events().await?;
        let client_id = self.client_id(&mut events).await?;
        let body = json!({"clientId": client_id, "subscriptions": topics});
        let response = caller.post(["api", "realtime"], &body).await?;
        if response.status != StatusCode::NO_CONTENT {
            caller.ensure_signed_in().await?;
            return Err(Refusal::of(&response).error(&response));
        }
        let news = stream::unfold(Some(events), move |events| {
            let collections = collections.clone();
            async move {
                let mut events = events?;
                match events.next().await {
                    Ok(Some(event)) => Some((poke(&event, &collections), Some(events))),
                    Ok(None) => None,
                    Err(error) => {
                        tracing::debug!(%error, "the event stream ended");
                        None
                    }
                }
            }
        });
        Ok(stream::iter([Poke::Subscribed]).chain(news).boxed())
    }

    async fn connect_events(&self) -> Result<SseStream> {
        let request = HttpRequest::new(Method::GET, self.client.base.join(["api", "realtime"]))
            .with_deadline(self.client.deadline);
        let timer = Arc::clone(&self.effects.timer);
        SseStream::open(&*self.client.transport, timer, request, SseOptions::default()).await
    }

    /// The id that the stream's first event tells.
    async fn client_id(&self, events: &mut SseStream) -> Result<String> {
        let sleep = self.effects.timer.sleep(self.client.deadline);
        let first = events.next();
        futures::pin_mut!(first);
        let first: Result<Option<SseEvent>, TransportError> = match select(first, sleep).await {
            Either::Left((first, _)) => first,
            Either::Right(_) => {
                let why = "the event stream did not begin";
                return Err(SyncError::new(ErrorKind::Timeout, why).with_adapter(ADAPTER));
            }
        };
        let connected = first?
            .filter(|event| event.event == "PB_CONNECT")
            .and_then(|event| serde_json::from_str::<Connected>(&event.data).ok());
        connected.map(|connected| connected.client_id).ok_or_else(|| {
            let why = "the event stream did not begin as PocketBase's does";
            SyncError::new(ErrorKind::Malformed, why).with_adapter(ADAPTER)
        })
    }
}

/// The event's name is the topic.
fn poke(event: &SseEvent, collections: &[(String, String)]) -> Poke {
    let name = collections
        .iter()
        .find(|(topic, _)| *topic == event.event)
        .and_then(|(_, name)| CollectionName::new(name.clone()).ok());
    Poke::Changed(name)
}
