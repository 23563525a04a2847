//! Realtime as a poke, on the whole stack: cases 37 to 41 of the notes, with both forms of the protocol.

mod feed_project;
mod listener;

use std::time::Duration;

use adapter_supabase::PhoenixVersion;
use futures::StreamExt;
use supabase_stack::PostgresVersion;
use sync_core::{CollectionName, Poke, RemoteStore};

use feed_project::FeedProject;
use listener::{Impatient, Listener};

use crate::table::project::{Project, scope, table};

const VERSIONS: [PhoenixVersion; 2] = [PhoenixVersion::V1, PhoenixVersion::V2];

on_each_postgres!(
    the_feed_pokes_members_in_both_forms_of_the_protocol,
    whoever_is_no_member_may_not_hear_the_pokes,
    case_37_a_lost_poke_is_caught_up_with_by_the_next_pull,
    case_38_a_killed_socket_is_joined_again_and_told_before_its_pokes,
    case_39_changes_of_tables_are_told_from_system_ok_on_and_that_is_a_poke,
    case_40_a_token_that_expires_is_renewed_and_the_channel_joined_again,
    case_40_a_renewed_token_reaches_the_channel_before_the_old_one_expires,
    case_41_a_join_refused_by_a_limit_leaves_pulling_and_comes_back,
    a_scope_without_tables_is_refused_by_name,
);

async fn the_feed_pokes_members_in_both_forms_of_the_protocol(postgres: PostgresVersion) {
    let Some(project) = FeedProject::start(postgres).await else {
        return;
    };
    for (number, version) in (1..).zip(VERSIONS) {
        let remote = project.connect(version, Impatient::effects()).await;
        let mut listener = Listener::start(&remote, &project.scope()).await;
        assert_eq!(project.stack.realtime().joined(), ["sync:team"]);
        project.insert(number).await;
        assert_eq!(listener.next().await, Poke::Changed(None));
    }
    project.stack.stop().await;
}

async fn whoever_is_no_member_may_not_hear_the_pokes(postgres: PostgresVersion) {
    let Some(project) = FeedProject::start(postgres).await else {
        return;
    };
    project.stack.run_sql("truncate public.members").await.unwrap();
    let remote = project.connect(PhoenixVersion::V2, Impatient::effects()).await;
    let refused = remote.subscribe(&project.scope()).await.err().unwrap();
    assert_eq!(refused.kind(), sync_core::ErrorKind::Forbidden, "{refused}");
    project.stack.stop().await;
}

async fn case_37_a_lost_poke_is_caught_up_with_by_the_next_pull(postgres: PostgresVersion) {
    let Some(project) = FeedProject::start(postgres).await else {
        return;
    };
    let remote = project.connect(PhoenixVersion::V2, Impatient::effects()).await;
    let mut listener = Listener::start(&remote, &project.scope()).await;
    project.stack.realtime().swallow_pokes(true);
    project.insert(1).await;
    listener::until(|| project.stack.realtime().swallowed() > 0).await;
    assert_eq!(project.pull(&remote).await, 1);
    project.stack.realtime().swallow_pokes(false);
    project.insert(2).await;
    assert_eq!(
        listener.next().await,
        Poke::Changed(None),
        "the swallowed poke does not come later"
    );
    project.stack.stop().await;
}

async fn case_38_a_killed_socket_is_joined_again_and_told_before_its_pokes(postgres: PostgresVersion) {
    let Some(project) = FeedProject::start(postgres).await else {
        return;
    };
    for version in VERSIONS {
        let remote = project.connect(version, Impatient::effects()).await;
        let mut listener = Listener::start(&remote, &project.scope()).await;
        project.stack.realtime().kill_sockets();
        assert_eq!(listener.next().await, Poke::Subscribed);
        assert_eq!(project.stack.realtime().sockets(), 1);
        project
            .insert(if version == PhoenixVersion::V1 { 1 } else { 2 })
            .await;
        assert_eq!(listener.next().await, Poke::Changed(None));
    }
    project.stack.stop().await;
}

async fn case_39_changes_of_tables_are_told_from_system_ok_on_and_that_is_a_poke(postgres: PostgresVersion) {
    let Some(project) = Project::on(postgres, &[]).await else {
        return;
    };
    project
        .stack
        .realtime()
        .set_replication_delay(Duration::from_millis(500));
    for version in VERSIONS {
        let options = adapter_supabase::RealtimeOptions::default().with_protocol(version);
        let config = project.config().with_realtime(options);
        let remote = project.connect_with(config, |table| table).await;
        let mut listener = Listener::start(&remote, &scope()).await;
        // Nobody is told of what is written before changes arrive.
        project.sql("truncate public.todos").await;
        project
            .sql("insert into public.todos (owner, id) values ('ada', 'early')")
            .await;
        assert_eq!(listener.next().await, Poke::Changed(None), "system ok");
        project
            .sql("insert into public.todos (owner, id) values ('bob', 'of another scope')")
            .await;
        project
            .sql("insert into public.todos (owner, id) values ('ada', 'told')")
            .await;
        let todos = CollectionName::new("todos").unwrap();
        assert_eq!(listener.next().await, Poke::Changed(Some(todos)));
    }
    project.stack.stop().await;
}

async fn case_40_a_token_that_expires_is_renewed_and_the_channel_joined_again(postgres: PostgresVersion) {
    let Some(project) = FeedProject::start(postgres).await else {
        return;
    };
    let remote = project.connect(PhoenixVersion::V2, Impatient::effects()).await;
    let mut listener = Listener::start(&remote, &project.scope()).await;
    // The clock of this device does not notice; the server ends the channel, and refuses the old token.
    project.stack.auth().advance_clock(Duration::from_secs(2 * 3_600));
    assert_eq!(listener.next().await, Poke::Subscribed);
    assert_eq!(project.stack.realtime().joined(), ["sync:team"]);
    assert!(project.tokens.renewals() > 0);
    project.insert(1).await;
    assert_eq!(listener.next().await, Poke::Changed(None));
    project.stack.stop().await;
}

async fn case_40_a_renewed_token_reaches_the_channel_before_the_old_one_expires(postgres: PostgresVersion) {
    let Some(project) = FeedProject::start(postgres).await else {
        return;
    };
    // Heartbeats follow one another at once.
    let remote = project
        .connect(PhoenixVersion::V2, Impatient::with_heartbeats())
        .await;
    let mut listener = Listener::start(&remote, &project.scope()).await;
    project.tokens.refresh();
    project.stack.forget_requests();
    // The stream sends only while someone listens to it.
    let quiet = tokio::time::timeout(Duration::from_secs(2), listener.pokes.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    project.stack.auth().advance_clock(Duration::from_secs(3_700));
    project.insert(1).await;
    assert_eq!(listener.next().await, Poke::Changed(None));
    let connects = project.stack.requests();
    let connects = connects
        .iter()
        .filter(|request| request.path.starts_with("/realtime"))
        .count();
    assert_eq!(connects, 0, "the channel stood all the time");
    project.stack.stop().await;
}

async fn case_41_a_join_refused_by_a_limit_leaves_pulling_and_comes_back(postgres: PostgresVersion) {
    let Some(project) = FeedProject::start(postgres).await else {
        return;
    };
    let realtime = project.stack.realtime();
    realtime.refuse_joins(Some("ChannelRateLimitReached: Too many channels"));
    let remote = project.connect(PhoenixVersion::V2, Impatient::effects()).await;
    let refused = remote.subscribe(&project.scope()).await.err().unwrap();
    assert_eq!(refused.kind(), sync_core::ErrorKind::RateLimited, "{refused}");
    project.insert(1).await;
    assert_eq!(project.pull(&remote).await, 1);
    realtime.refuse_joins(None);

    // A subscription that stood stays a stream, whatever refuses it meanwhile.
    let mut listener = Listener::start(&remote, &project.scope()).await;
    realtime.refuse_joins(Some("ClientJoinRateLimitReached: Too many joins per second"));
    project.stack.forget_requests();
    realtime.kill_sockets();
    let refused_once = listener::until(|| !project.stack.requests().is_empty());
    tokio::select! {
        () = refused_once => {}
        poke = listener.pokes.next() => panic!("{poke:?}"),
    }
    realtime.refuse_joins(None);
    assert_eq!(listener.next().await, Poke::Subscribed);
    project.stack.stop().await;
}

async fn a_scope_without_tables_is_refused_by_name(postgres: PostgresVersion) {
    let Some(project) = Project::on(postgres, &[]).await else {
        return;
    };
    let config = project.config().with_collection(table("todos")).unwrap();
    let remote = adapter_supabase::SupabaseRemoteStore::connect(config)
        .await
        .unwrap();
    let other = sync_core::SyncScope::new("other").unwrap();
    let refused = remote.subscribe(&other).await.err().unwrap();
    assert_eq!(refused.kind(), sync_core::ErrorKind::Configuration, "{refused}");
    project.stack.stop().await;
}
