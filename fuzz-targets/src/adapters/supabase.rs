//! Supabase: the functions of the feed, rows of the data API, and frames of the realtime server.

use std::{collections::BTreeSet, sync::Arc};

use adapter_supabase::{
    ApiKey, FeedProfile, ProjectProfile, SupabaseConfig, SupabaseRemoteStore, SupabaseTable, TableProfile,
};
use sync_core::RemoteStore;
use sync_http::testing::ScriptedTransport;
use sync_testkit::effects::TestEffects;

use super::{ADDRESS, call_everything, effects, follow, scope, script::driven, sockets, target, token};
use crate::FuzzTarget;

pub(super) const FEED: FuzzTarget = FuzzTarget {
    name: "supabase_feed",
    run: feed,
    seeds: &[
        "@1:5:9\n{\"cursor\":\"1:9:9\",\"more\":false,\"first\":false,\"now\":1795246607135000,\"changes\":[{\"id\":\"r1\",\
         \"v\":\"8\",\"at\":1795246607000000,\"stamp\":\"000000000001-0000-0000000000000001\",\"row\":{\"id\":\"r1\",\
         \"title\":\"tea\",\"count\":2.50}},{\"id\":\"r2\",\"v\":\"9\",\"at\":1795246607000001}]}",
        "{\"results\":[{\"op\":\"00000000-0000-0000-0000-000000000001\",\"out\":\"applied\",\"v\":\"10\",\"at\":1,\"row\":\
         {\"id\":\"r1\"}},{\"op\":\"00000000-0000-0000-0000-000000000002\",\"out\":\"conflict\",\"current\":{\"id\":\"r2\",\
         \"v\":\"7\",\"at\":3,\"row\":{\"id\":\"r2\"}}},{\"op\":\"00000000-0000-0000-0000-000000000003\",\"out\":\
         \"rejected\",\"code\":\"23505\",\"msg\":\"duplicate key\",\"field\":\"title\"}]}",
        "{\"states\":[{\"id\":\"r1\",\"v\":\"8\",\"at\":1,\"row\":{\"id\":\"r1\"}},{\"id\":\"r2\",\"v\":\"9\",\"at\":2},null]}",
        "{\"ids\":[[\"r1\",\"8\"],[\"r2\",\"9\"]],\"next\":\"r2\"}",
        "404 {\"code\":\"PGRST202\",\"details\":null,\"hint\":null,\"message\":\"Could not find the function\"}\n\
         400 {\"code\":\"PT409\",\"hint\":\"restored\",\"message\":\"resync\"}",
        "500 {\"code\":\"57014\",\"message\":\"canceling statement due to statement timeout\"}\n401 {\"code\":\"PGRST303\",\
         \"message\":\"JWT expired\"}\n403 {\"code\":\"PT403\",\"hint\":\"not_a_member\"}",
        "{\"format\":1,\"now\":1795246607135000,\"max_page\":1000,\"max_push\":500,\"collections\":{\"todos\":{\"id\":\"id\"}}}",
        "413 <html>\n502 Bad Gateway\n429 {\"message\":\"too many\"}",
    ],
};

pub(super) const TABLE: FuzzTarget = FuzzTarget {
    name: "supabase_table",
    run: table,
    seeds: &[
        "[{\"id\":\"r2\",\"updated_at\":\"2026-11-21T07:36:47.135001+00:00\"}]\n[{\"id\":\"r1\",\"title\":\"tea\",\"count\":1,\
         \"owner\":\"u1\",\"updated_at\":\"2026-11-21T07:36:47.135+00:00\",\"deleted_at\":null},{\"id\":\"r2\",\"title\":null,\
         \"count\":2,\"owner\":\"u1\",\"updated_at\":\"2026-11-21T07:36:47.135001+00:00\",\"deleted_at\":\
         \"2026-11-21T07:36:47.135001+00:00\"}]",
        "@{\"form\":1,\"user\":null,\"position\":{\"at\":{\"newest\":[[\"2026-11-21T07:36:47+00:00\",\"r1\"],1795246607000000],\
         \"settled\":true,\"count\":1}}}\n[{\"id\":\"r2\",\"updated_at\":\"2026-11-21T07:36:48+00:00\"}]\n[{\"id\":7,\
         \"updated_at\":\"yesterday\"}]",
        "[]\n[]\n[]",
        "201 [{\"id\":\"r1\",\"updated_at\":\"2026-11-21T07:36:47.135+00:00\"}]\n[]\n[{\"id\":\"r2\",\"title\":\"tea\",\
         \"updated_at\":\"2026-11-21T07:36:47.135+00:00\"}]",
        "409 {\"code\":\"23505\",\"details\":\"Key (id)=(r1) already exists.\",\"hint\":null,\"message\":\"duplicate key\"}\n\
         400 {\"code\":\"42703\",\"message\":\"column todos.owner does not exist\"}",
    ],
};

pub(super) const FRAMES: FuzzTarget = FuzzTarget {
    name: "supabase_frames",
    run: frames,
    seeds: &[
        "[\"1\",\"1\",\"realtime:sync:inbox?user=u1\",\"phx_reply\",{\"status\":\"ok\",\"response\":{\"postgres_changes\":[]}}]\n\
         [null,null,\"realtime:sync:inbox?user=u1\",\"broadcast\",{\"type\":\"broadcast\",\"event\":\"poke\",\"payload\":\
         {\"seq\":7}}]\n[null,\"2\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]\n[\"1\",null,\
         \"realtime:sync:inbox?user=u1\",\"system\",{\"message\":\"Subscribed to PostgreSQL\",\"status\":\"ok\",\"extension\":\
         \"postgres_changes\",\"channel\":\"sync:inbox\"}]",
        "[\"1\",\"1\",\"realtime:sync:inbox?user=u1\",\"phx_reply\",{\"status\":\"error\",\"response\":{\"reason\":\
         \"InvalidJWTToken: Token has expired\"}}]\n[\"1\",null,\"realtime:sync:inbox?user=u1\",\"phx_close\",{}]",
        "[\"1\",\"1\",\"realtime:sync-tables:inbox?user=u1\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]\n[\"1\",null,\
         \"realtime:sync-tables:inbox?user=u1\",\"postgres_changes\",{\"ids\":[1],\"data\":{\"schema\":\"public\",\"table\":\
         \"todos\",\"type\":\"INSERT\",\"record\":{\"id\":\"r1\"},\"errors\":null}}]",
    ],
};

/// A project in both of its forms.
fn profiles() -> [ProjectProfile; 2] {
    let collections = BTreeSet::from([target().collection]);
    let table = TableProfile {
        collections: collections.clone(),
    };
    let feed = FeedProfile {
        collections,
        max_page: 1_000,
        max_push: 500,
    };
    [ProjectProfile::Feed(feed), ProjectProfile::Table(table)]
}

fn config(effects: &TestEffects) -> SupabaseConfig {
    let table = SupabaseTable::new("todos")
        .with_scope_key("user", "owner")
        .with_soft_delete("deleted_at");
    SupabaseConfig::new(ADDRESS, ApiKey::new("sb_publishable_k"), effects.effects())
        .and_then(|config| config.with_collection(table))
        .expect("the configuration is sound")
        .signed_in(token())
}

fn connect(
    profile: ProjectProfile,
    transport: ScriptedTransport,
    effects: &TestEffects,
) -> SupabaseRemoteStore {
    let config = config(effects).with_transport(Arc::new(transport));
    SupabaseRemoteStore::open(config, profile).expect("the configuration is sound")
}

/// A project with the feed that answers with these lines.
pub fn feed(data: &[u8]) {
    let [profile, _] = profiles();
    let connect = |transport, effects: &TestEffects| connect(profile.clone(), transport, effects);
    call_everything(data, connect, |answer, delta| {
        let told = answer["changes"].as_array().map_or(0, Vec::len);
        let shown = delta.changes.len() + delta.malformed.len();
        assert_eq!(shown, told, "a row is neither a change nor malformed: {delta:?}");
    });
}

/// A project without it.
pub fn table(data: &[u8]) {
    let [_, profile] = profiles();
    let connect = |transport, effects: &TestEffects| connect(profile.clone(), transport, effects);
    call_everything(data, connect, |_, _| ());
}

/// A realtime server that sends these lines as frames.
pub fn frames(data: &[u8]) {
    for profile in profiles() {
        let (effects, (sockets, frames)) = (effects(), sockets(data));
        let config = config(&effects)
            .with_transport(Arc::new(ScriptedTransport::new()))
            .with_sockets(sockets);
        let remote = SupabaseRemoteStore::open(config, profile).expect("the configuration is sound");
        let subscribed = driven(&effects.clock, remote.subscribe(&scope()));
        follow(&effects, subscribed, frames + 1);
    }
}
