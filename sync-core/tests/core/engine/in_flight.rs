//! Edits of the user that fall between the steps of a synchronization.

use adapter_memory::faults::{Call, Fault};
use sync_core::{
    EngineOptions, ErrorKind, Settlement, SyncError,
    resolve::{ClientWins, LastWriteWins},
};

use super::{
    hooks::Moment,
    lab::{Lab, NeverAsked, Probe, payload},
    world::{key, remote_titles, scope, titles, todo},
};

enum Edit {
    Rename,
    Delete,
    DeleteAndMakeAgain,
}

/// Plans an edit of record 1 at this moment.
fn edit(device: &Probe, moment: Moment, edit: Edit) {
    let todos = device.todos.clone();
    device.hooks.once(moment, || async move {
        let id = "1".to_owned();
        if matches!(edit, Edit::Delete | Edit::DeleteAndMakeAgain) {
            todos.enqueue_delete(&scope(), &id).await.unwrap();
        }
        if matches!(edit, Edit::DeleteAndMakeAgain) {
            todos.enqueue_create(&scope(), &todo("1", "anew")).await.unwrap();
        }
        if matches!(edit, Edit::Rename) {
            todos
                .enqueue_update(&scope(), &todo("1", "edited"))
                .await
                .unwrap();
        }
    });
}

async fn expect_edit(lab: &Lab, a: &Probe, title: Option<&str>) {
    assert_eq!(a.hooks.left(), 0, "the edit was made");
    let expected = title.map_or_else(|| titles([]), |title| titles([("1", title)]));
    assert_eq!(a.titles().await, expected, "the edit is visible at once");
    a.sync().await;
    assert_eq!(a.titles().await, expected);
    assert_eq!(remote_titles(&lab.remote), expected);
    assert_eq!(a.pending().await, 0);
}

// Trap 14: azure-mobile-apps#817, WatermelonDB#1374: the answer to the push overwrote the newer edit.
#[tokio::test]
async fn an_edit_made_while_the_push_is_under_way_survives_its_answer() {
    for moment in [Moment::BeforePush, Moment::AfterPush] {
        for (change, title) in [
            (Edit::Rename, Some("edited")),
            (Edit::Delete, None),
            (Edit::DeleteAndMakeAgain, Some("anew")),
        ] {
            let lab = Lab::new();
            let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
            a.create("1", "tea").await;
            edit(&a, moment, change);
            a.sync().await;
            expect_edit(&lab, &a, title).await;
        }
    }
}

// What is sent next was read, and may be in doubt already, before the answer to what went ahead of it.
#[tokio::test]
async fn an_edit_of_what_is_sent_next_is_sent_as_edited() {
    for moment in [Moment::BeforePush, Moment::AfterPush] {
        let lab = Lab::new();
        let options = EngineOptions::default().with_push_batch(1);
        let a = lab.device_with(NeverAsked, options).await;
        for id in ["0", "1", "2"] {
            a.create(id, "tea").await;
        }
        edit(&a, moment, Edit::Rename);
        let report = a.sync().await;
        assert_eq!((report.pushed, a.pending().await), (3, 0));
        let expected = titles([("0", "tea"), ("1", "edited"), ("2", "tea")]);
        assert_eq!(a.titles().await, expected);
        assert_eq!(remote_titles(&lab.remote), expected);
    }
}

// RCS-17 in flight: a record is deleted while its create is on the way.
#[tokio::test]
async fn a_delete_while_the_create_is_on_the_way_wins_also_if_the_answer_is_lost() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    edit(&a, Moment::BeforePush, Edit::Delete);
    a.faults().script(
        Call::Push,
        Fault::FailAfter(SyncError::new(ErrorKind::Timeout, "lost")),
    );
    a.failing_sync().await;
    assert_eq!(remote_titles(&lab.remote), titles([("1", "tea")]));
    expect_edit(&lab, &a, None).await;
}

// Trap 14: the server changes what was sent, while the user edits on.
#[tokio::test]
async fn what_the_server_makes_of_a_write_does_not_undo_a_later_edit() {
    let lab = Lab::new();
    lab.remote.set_server_transform(|_, payload| {
        let mut fields = payload.to_object().unwrap();
        fields.insert("done".into(), true.into());
        sync_core::Payload::from_object(&fields)
    });
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    let todos = a.todos.clone();
    a.hooks.once(Moment::AfterPush, || async move {
        todos
            .enqueue_update(&scope(), &todo("1", "edited"))
            .await
            .unwrap();
    });
    a.sync().await;
    expect_edit(&lab, &a, Some("edited")).await;
    let stored = lab.remote.dump(&super::world::target());
    let stored: super::world::Todo = stored.values().next().unwrap().decode().unwrap();
    assert!(stored.done, "the server's own field is kept");
}

// RCS-20, trap 13: the row of the snapshot was written over the edit, and its tombstone was lifted.
#[tokio::test]
async fn an_edit_between_the_load_and_the_commit_of_a_page_is_a_conflict_and_not_overwritten() {
    for change in [Edit::Rename, Edit::Delete, Edit::DeleteAndMakeAgain] {
        let lab = Lab::new();
        let a = lab.device_with(ClientWins, EngineOptions::default()).await;
        lab.remote.put(&key("1"), payload("1", "theirs"));
        a.sync().await;
        lab.remote.put(&key("1"), payload("1", "theirs, newer"));
        edit(&a, Moment::BeforePageCommit, change);
        assert_eq!(a.sync().await.conflicts(), 1);
        assert_ne!(a.titles().await, remote_titles(&lab.remote));
        a.sync().await;
        assert_eq!(a.titles().await, remote_titles(&lab.remote));
        assert_eq!(a.pending().await, 0);
    }
}

// RCS-20: the same with a later edit, which wins.
#[tokio::test]
async fn a_later_edit_between_the_load_and_the_commit_of_a_page_wins() {
    for (change, title) in [
        (Edit::Rename, Some("edited")),
        (Edit::Delete, None),
        (Edit::DeleteAndMakeAgain, Some("anew")),
    ] {
        let lab = Lab::new();
        let a = lab.device_with(LastWriteWins, EngineOptions::default()).await;
        lab.remote.put(&key("1"), payload("1", "theirs"));
        a.sync().await;
        lab.remote.put(&key("1"), payload("1", "theirs, newer"));
        lab.pass(std::time::Duration::from_secs(1));
        edit(&a, Moment::BeforePageCommit, change);
        let report = a.sync().await;
        assert_eq!(report.settled.get(&Settlement::KeptLocal), Some(&1));
        expect_edit(&lab, &a, title).await;
    }
}

// Trap 13: TanStack/db#1323. Before its page is loaded, the edit is simply pending.
#[tokio::test]
async fn an_edit_while_a_page_is_on_the_way_is_not_overwritten_by_it() {
    for moment in [Moment::BeforePull, Moment::AfterPull] {
        let lab = Lab::new();
        let a = lab.device().await;
        lab.remote.put(&key("1"), payload("1", "theirs"));
        a.sync().await;
        lab.remote.put(&key("1"), payload("1", "theirs, newer"));
        lab.pass(std::time::Duration::from_secs(1));
        edit(&a, moment, Edit::Rename);
        a.sync().await;
        expect_edit(&lab, &a, Some("edited")).await;
    }
}

// Trap 15: rxdb#5571: what arrived while a push was under way was dropped.
#[tokio::test]
async fn a_foreign_change_during_the_push_is_pulled_in_the_same_sync() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    for moment in [Moment::BeforePush, Moment::AfterPush] {
        let remote = lab.remote.clone();
        let id = format!("{moment:?}");
        a.hooks.once(moment, || async move {
            remote.put(&key(&id), payload(&id, "theirs"));
        });
    }
    assert_eq!(a.sync().await.pulled, 2);
    assert_eq!(a.titles().await, remote_titles(&lab.remote));
}

// Trap 16: WatermelonDB#649: the echo of an own write was taken for a foreign one.
#[tokio::test]
async fn the_echo_of_an_own_write_is_no_change_and_no_conflict() {
    let lab = Lab::new();
    let a = lab.device_with(NeverAsked, EngineOptions::default()).await;
    a.create("1", "tea").await;
    a.create("2", "milk").await;
    let report = a.sync().await;
    assert_eq!((report.pushed, report.pulled, report.conflicts()), (2, 0, 0));
    a.rename("1", "green tea").await;
    a.delete("2").await;
    let todos = a.todos.clone();
    a.hooks.once(Moment::AfterPush, || async move {
        todos
            .enqueue_update(&scope(), &todo("1", "black tea"))
            .await
            .unwrap();
    });
    a.sync().await;
    let report = a.sync().await;
    assert_eq!((report.pulled, report.conflicts()), (0, 0));
    assert_eq!(remote_titles(&lab.remote), titles([("1", "black tea")]));
    assert_eq!(a.pending().await, 0);
}
