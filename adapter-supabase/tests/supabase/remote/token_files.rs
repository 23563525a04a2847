//! A sign-in that processes share: one refresh at a time, kept before it is used.

use std::{sync::Arc, time::Duration};

use adapter_supabase::TokenFile;
use supabase_stack::Fault;
use sync_core::{Effects, ErrorKind, RemoteStore};
use sync_http::{CredentialStore, Session, TokenSource};

use super::world::{PASSWORD, World, page};

on_each_stack!(
    sessions_on_one_file_refresh_once_between_them,
    a_renewed_token_is_in_the_file_before_it_is_used,
    a_session_with_an_old_token_goes_on_from_the_file,
    a_sign_out_of_one_process_is_not_undone_by_another,
    a_file_that_is_damaged_is_told_and_made_anew,
);

const LATER: Duration = Duration::from_secs(2 * 3_600);

/// What a process has: its own sign-in client, file handle and session.
async fn process(world: &World, path: &std::path::Path) -> (Session, TokenFile) {
    let effects = Effects::tokio();
    let file = TokenFile::new(path, effects.timer.clone());
    let auth = world.auth(&effects);
    let session = auth.session_in_file(file.clone(), effects);
    if !session.restore().await.unwrap() {
        let credentials = auth.sign_in("ada@example.com", &PASSWORD.into()).await.unwrap();
        session.sign_in(credentials).await.unwrap();
    }
    (session, file)
}

async fn sessions_on_one_file_refresh_once_between_them(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sign-in.json");
    // Each refresh token is good once and no second longer.
    world.stack.auth().set_reuse_interval(Duration::ZERO);
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(process(world, &path).await.0);
    }
    for round in 1..=3 {
        world.stack.auth().advance_clock(LATER);
        // The slower the project answers, the more of them wait.
        world
            .stack
            .faults()
            .next("/auth/v1/token", Fault::Delay(Duration::from_millis(150)));
        let refreshed = futures::future::join_all(sessions.iter().map(Session::refresh)).await;
        let tokens: Vec<_> = refreshed
            .into_iter()
            .map(|answer| answer.unwrap().access)
            .collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]));
        assert_eq!(world.stack.auth().refreshes(), round);
    }
}

async fn a_renewed_token_is_in_the_file_before_it_is_used(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sign-in.json");
    let (session, file) = process(world, &path).await;
    let remote = world.remote_with(Arc::new(session.clone())).await;
    world.stack.auth().advance_clock(LATER);
    world.stack.forget_requests();
    // The process ends while the first request with the new token is under way.
    world
        .stack
        .faults()
        .next("/auth/v1/token", Fault::Delay(Duration::from_millis(1)));
    remote.pull(page(None, 10)).await.unwrap();
    let saved = file.load().await.unwrap().unwrap();
    let requests = world.stack.requests();
    let last = requests.last().unwrap().authorization.clone().unwrap();
    assert_eq!(last, format!("Bearer {}", saved.access.reveal()));
    drop((session, remote));
    let (again, _) = process(world, &path).await;
    assert_eq!(again.credentials().await.unwrap().unwrap().access, saved.access);
    assert_eq!(world.stack.auth().refreshes(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "nobody else can read it");
    }
}

async fn a_session_with_an_old_token_goes_on_from_the_file(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sign-in.json");
    world.stack.auth().set_reuse_interval(Duration::ZERO);
    let (busy, _) = process(world, &path).await;
    let (asleep, _) = process(world, &path).await;
    // The other process renews twice, and what it got has expired too: only the newest refresh token is not spent.
    world.stack.auth().set_token_lifetime(Duration::ZERO);
    busy.refresh().await.unwrap();
    busy.refresh().await.unwrap();
    world.stack.auth().set_token_lifetime(LATER);
    asleep.refresh().await.unwrap();
    assert_eq!(world.stack.auth().refreshes(), 3);
    let remote = world.remote_with(Arc::new(asleep.clone())).await;
    remote.pull(page(None, 10)).await.unwrap();
    // And the other goes on with what this one got.
    busy.refresh().await.unwrap();
    assert_eq!(world.stack.auth().refreshes(), 3);
}

async fn a_sign_out_of_one_process_is_not_undone_by_another(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sign-in.json");
    let (first, file) = process(world, &path).await;
    let (second, _) = process(world, &path).await;
    first.sign_out().await.unwrap();
    assert_eq!(
        second.refresh().await.unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
    assert!(first.needs_sign_in() && second.needs_sign_in());
    assert!(file.load().await.unwrap().is_none());
    assert_eq!(world.stack.auth().refreshes(), 0);
}

async fn a_file_that_is_damaged_is_told_and_made_anew(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sign-in.json");
    let (session, file) = process(world, &path).await;
    std::fs::write(&path, "{\"access\":\"secret-text").unwrap();
    let error = file.load().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert!(!format!("{error:?}").contains("secret-text"));
    let renewed = session.refresh().await.unwrap();
    assert_eq!(file.load().await.unwrap(), Some(renewed));
    let nowhere = TokenFile::new(folder.path().join("no/such/folder"), Effects::tokio().timer);
    let credentials = sync_http::Credentials::new("x");
    assert_eq!(
        nowhere.save(&credentials).await.unwrap_err().kind(),
        ErrorKind::Configuration
    );
}
