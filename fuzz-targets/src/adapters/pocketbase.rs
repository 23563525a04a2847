//! PocketBase: lists, records, batches and their refusals, with and without a feed, and the event stream.

use std::sync::Arc;

use adapter_pocketbase::{
    CollectionMapping, FieldKind, PocketBaseConfig, PocketBaseRemoteStore, Profile, ServerProfile,
};
use sync_core::RemoteStore;
use sync_http::{
    Bytes, Method,
    testing::{ScriptedAnswer, ScriptedTransport, StreamEnd},
};
use sync_testkit::effects::TestEffects;

use super::{ADDRESS, call_everything, effects, follow, scope, script::driven, token};
use crate::FuzzTarget;

pub(super) const FEED: FuzzTarget = FuzzTarget {
    name: "pocketbase_feed",
    run: feed,
    seeds: &[
        "{\"id\":\"meta\",\"version\":1,\"epoch\":\"e1\",\"seq\":9,\"nonce\":\"n9\",\"floor\":0,\"now\":\
         \"2026-11-21 07:36:47.135Z\"}\n{\"items\":[{\"id\":\"r1\",\"title\":\"tea\",\"count\":1,\"sync_rev\":8,\"sync_stamp\":\
         \"000000000001-0000-0000000000000001\",\"updated\":\"2026-11-21 07:36:47.135Z\"}],\"page\":1,\"perPage\":2,\
         \"totalItems\":-1,\"totalPages\":-1}\n{\"items\":[{\"id\":\"t1\",\"record\":\"r2\",\"seq\":9,\"stamp\":\"\"}],\"perPage\":2}\n\
         {\"id\":\"meta\",\"version\":1,\"epoch\":\"e1\",\"seq\":9,\"nonce\":\"n9\",\"floor\":0,\"now\":\
         \"2026-11-21 07:36:47.135Z\"}",
        "@{\"profile\":\"feed\",\"epoch\":\"e1\",\"position\":5,\"anchor\":{\"seq\":7,\"nonce\":\"n7\"}}\n{\"version\":1,\"epoch\":\
         \"e1\",\"seq\":9,\"nonce\":\"n9\",\"floor\":0,\"now\":\"\"}\n{\"id\":\"0000000000007-n7\"}",
        "[{\"status\":200,\"body\":{\"id\":\"r1\",\"sync_rev\":10}},{\"status\":204,\"body\":null},{\"status\":200,\"body\":{}}]",
        "400 {\"data\":{\"requests\":{\"1\":{\"code\":\"batch_request_failed\",\"message\":\"Batch request failed.\",\"response\":\
         {\"data\":{\"id\":{\"code\":\"validation_not_unique\",\"message\":\"Value must be unique.\"}},\"message\":\
         \"Failed to create record.\",\"status\":400}}}},\"message\":\"Batch transaction failed.\",\"status\":400}\n\
         {\"token\":\"t\"}\n{\"items\":[],\"perPage\":2}",
        "400 {\"data\":{\"requests\":{\"code\":\"validation_length_too_long\",\"params\":{\"max\":1000,\"min\":0}}}}\n\
         403 {\"data\":{},\"message\":\"Batch requests are not allowed.\",\"status\":403}\n{}",
    ],
};

pub(super) const PLAIN: FuzzTarget = FuzzTarget {
    name: "pocketbase_plain",
    run: plain,
    seeds: &[
        "{\"items\":[{\"id\":\"r1\",\"title\":\"tea\",\"count\":1,\"updated\":\"2026-11-21 07:36:47.135Z\",\"gone\":false},\
         {\"id\":\"r2\",\"title\":\"\",\"count\":0,\"updated\":\"2026-11-21 07:36:47.136Z\",\"gone\":true}],\"page\":1,\"perPage\":3,\
         \"totalItems\":-1}\n{\"items\":[],\"perPage\":1,\"totalItems\":2}\n{\"token\":\"t\",\"record\":{}}",
        "@{\"profile\":\"plain\",\"seen\":\"2026-11-21 07:36:47.135Z\",\"settled\":true,\"count\":2}\n{\"items\":[{\"id\":\"r1\",\
         \"updated\":\"2026-11-21 07:36:48.000Z\"}],\"perPage\":2,\"totalItems\":3}\n{}",
        "@{\"profile\":\"plain\",\"seen\":\"\",\"scan\":{\"updated\":\"2026-11-21 07:36:47.135Z\",\"id\":\"r1\",\"delivered\":2}}\n\
         {\"items\":[{\"id\":\"r2\"},{\"id\":5}],\"perPage\":2}\n{}",
        "429 {\"data\":{},\"message\":\"Too Many Requests.\",\"status\":429}\n401 {\"code\":401,\"message\":\"The request requires\"}",
        "404 {\"data\":{},\"message\":\"The requested resource wasn't found.\",\"status\":404}\n{\"token\":\"t\"}",
    ],
};

pub(super) const EVENTS: FuzzTarget = FuzzTarget {
    name: "pocketbase_events",
    run: events,
    seeds: &[
        "id:c1\nevent:PB_CONNECT\ndata:{\"clientId\":\"c1\"}\n\nid:c1\nevent:todos/*\ndata:{\"record\":{\"id\":\"r1\"},\"action\":\
         \"create\"}\n\nevent:other/*\ndata:{}\n\n",
        "event:PB_CONNECT\ndata:{}\n\n",
    ],
};

fn connect(
    profile: Profile,
    mapping: CollectionMapping,
    transport: ScriptedTransport,
    effects: &TestEffects,
) -> PocketBaseRemoteStore {
    let config = PocketBaseConfig::new(ADDRESS).expect("the address is valid");
    let config = config.with_collection(mapping.with_scope_field("user", "owner"));
    let known = ServerProfile {
        profile,
        batch_requests: Some(50),
    };
    let transport = Arc::new(transport);
    PocketBaseRemoteStore::open(config, transport, token(), effects.effects(), known)
        .expect("the configuration is sound")
}

fn columns() -> CollectionMapping {
    let columns = [("title", FieldKind::Text), ("count", FieldKind::Number)];
    CollectionMapping::fields("todos", columns)
}

/// A server with a feed that answers with these lines.
pub fn feed(data: &[u8]) {
    let connect = |transport, effects: &TestEffects| connect(Profile::Feed, columns(), transport, effects);
    call_everything(data, connect, |_, _| ());
}

/// A plain server that does, with a column for each field, and with whole records in one.
pub fn plain(data: &[u8]) {
    let document = CollectionMapping::document("todos", "title").with_derived_ids("record_id");
    for mapping in [columns().with_soft_delete("gone"), document] {
        let connect =
            |transport, effects: &TestEffects| connect(Profile::Plain, mapping.clone(), transport, effects);
        call_everything(data, connect, |_, _| ());
    }
}

/// A server that sends these bytes as its event stream.
pub fn events(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let transport = ScriptedTransport::with_handler(move |request| {
        let is_stream = request.method == Method::GET && request.url.path().ends_with("/realtime");
        Some(match (is_stream, request.url.path().ends_with("/realtime")) {
            (true, _) => ScriptedAnswer::events([bytes.clone()], StreamEnd::Orderly),
            (false, true) => ScriptedAnswer::json(204, ""),
            (false, false) => ScriptedAnswer::json(200, "{\"token\":\"t\"}"),
        })
    });
    let effects = effects();
    let remote = connect(Profile::Plain, columns(), transport, &effects);
    let subscribed = driven(&effects.clock, remote.subscribe(&scope()));
    follow(&effects, subscribed, data.len() + 1);
}
