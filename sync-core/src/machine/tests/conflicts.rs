//! News from the remote, refusals, and conflicts.

use super::*;

#[test]
fn news_resolve_an_unsent_write_and_keep_its_stamp() {
    let bench = Bench::new(LastWriteWins);
    let edited = bench.write(&confirmed(r#"{"n":0}"#), Intent::Update(payload(r#"{"n":1}"#)));

    let older = bench.news(&edited, &live(r#"{"n":5,"x":1}"#, 2, 2)).unwrap();
    assert_eq!(
        older.conflict.as_ref().unwrap().settlement,
        Some(Settlement::KeptLocal)
    );
    let op = &older.after.ops[0];
    assert_eq!(op.stamp, edited.ops[0].stamp);
    assert_ne!(op.op_id, edited.ops[0].op_id);
    assert_eq!(
        op.changed,
        ChangedFields::Only(["n".to_owned(), "x".to_owned()].into())
    );
    assert_eq!(older.after.base.version(), Some(&version(2)));

    let newer = bench.news(&edited, &live(r#"{"n":5}"#, 2, 5_000)).unwrap();
    assert_eq!(
        newer.conflict.as_ref().unwrap().settlement,
        Some(Settlement::TookRemote)
    );
    assert_eq!(
        newer.conflict.unwrap().local,
        Some(payload(r#"{"n":1}"#)),
        "what lost is on record"
    );
    assert!(newer.after.ops.is_empty());
    assert_eq!(text(&newer.after.view), Some(serde_json::json!({"n": 5})));
}

#[test]
fn news_about_an_operation_in_doubt_wait_for_its_answer() {
    let bench = Bench::new(LastWriteWins);
    let in_flight = sent(bench.write(&confirmed(r#"{"n":0}"#), Intent::Update(payload(r#"{"n":1}"#))));
    let news = bench.news(&in_flight, &live(r#"{"n":7}"#, 3, 1)).unwrap();
    assert!(news.conflict.is_none());
    assert_eq!(text(&news.after.view), Some(serde_json::json!({"n": 1})));
    assert_eq!(
        news.after.ops[0].base.as_ref().unwrap().version(),
        Some(&version(1))
    );

    let duplicate = PushOutcome::Duplicate {
        version: Some(version(2)),
    };
    assert!(matches!(
        bench.answer(&news.after, &duplicate),
        Acknowledged::NeedsReadBack
    ));
    let current = live(r#"{"n":7}"#, 3, 1);
    let Acknowledged::Done(done) = bench.answer_with(&news.after, &duplicate, Some(&current)) else {
        panic!()
    };
    assert_eq!(
        text(&done.after.view),
        Some(serde_json::json!({"n": 7})),
        "the foreign change came after ours"
    );
}

#[test]
fn an_own_write_that_comes_back_is_no_conflict() {
    let bench = Bench::new(MustNotBeCalled);
    let in_flight = sent(bench.write(&confirmed(r#"{"n":0}"#), Intent::Update(payload(r#"{"n":1}"#))));
    let echo = RemoteState::Live(
        Versioned::new(payload(r#"{"n":1}"#), version(2)).with_stamp(Some(in_flight.ops[0].stamp)),
    );
    let news = bench.news(&in_flight, &echo).unwrap();
    assert!(news.after.ops.is_empty() && news.conflict.is_none());
    let Acknowledged::Done(done) = bench.answer(&in_flight, &PushOutcome::Conflict { current: echo }) else {
        panic!()
    };
    assert!(done.after.ops.is_empty());
}

#[test]
fn stale_and_known_states_are_no_news() {
    let bench = Bench::new(MustNotBeCalled);
    let mut state = confirmed("{}");
    state.base = deleted(5, 5);
    state.view = None;
    assert!(
        bench.news(&state, &live("{}", 4, 4)).is_none(),
        "a stale page does not bring a deleted record back"
    );
    assert!(bench.news(&state, &deleted(5, 5)).is_none());
    let resync = MergeContext {
        mark: 2,
        accept_older: true,
    };
    assert!(
        news(&state, &live("{}", 4, 4), resync, &bench.around())
            .unwrap()
            .is_some()
    );
}

#[test]
fn an_edit_against_a_remote_delete_asks_the_resolver() {
    let edited = |bench: &Bench| bench.write(&confirmed(r#"{"n":0}"#), Intent::Update(payload(r#"{"n":1}"#)));
    let bench = Bench::new(LastWriteWins);
    let kept = bench.news(&edited(&bench), &deleted(2, 2)).unwrap();
    assert_eq!(
        kept.after.ops[0].kind,
        OpKind::Create,
        "it is made again on top of the tombstone"
    );
    assert_eq!(kept.after.base.version(), Some(&version(2)));

    let bench = Bench::new(ServerWins);
    let Acknowledged::Conflict(lost) = bench.answer(&sent(edited(&bench)), &PushOutcome::Missing) else {
        panic!()
    };
    assert!(lost.after.view.is_none() && lost.after.ops.is_empty());
}

#[test]
fn a_refused_write_is_parked_and_a_correction_sends_it_again() {
    let bench = Bench::new(MustNotBeCalled);
    let in_flight = sent(bench.write(&absent(), Intent::Create(payload(r#"{"t":"too long"}"#))));
    let refusal = PushOutcome::Rejected {
        code: "22001".into(),
        message: "too long".into(),
        field: Some("t".into()),
    };
    let Acknowledged::Parked(parked) = bench.answer(&in_flight, &refusal) else {
        panic!()
    };
    assert!(matches!(
        parked.after.ops[0].state,
        OpState::Parked(ParkReason::Rejected { .. })
    ));
    let corrected = bench.write(&parked.after, Intent::Update(payload(r#"{"t":"ok"}"#)));
    assert_eq!(corrected.ops[0].state, OpState::Queued);
    assert_eq!(corrected.ops[0].kind, OpKind::Create);
    assert_ne!(corrected.ops[0].op_id, in_flight.ops[0].op_id);

    let edited_meanwhile = bench.write(&in_flight, Intent::Update(payload(r#"{"t":"ok"}"#)));
    let Acknowledged::Again(again) = bench.answer(&edited_meanwhile, &refusal) else {
        panic!()
    };
    assert_eq!(
        (again.after.ops.len(), again.after.ops[0].kind),
        (1, OpKind::Create)
    );
}

#[test]
fn a_resolver_that_panics_parks_the_write_and_loses_nothing() {
    let bench = Bench::new(MustNotBeCalled);
    let edited = bench.write(&confirmed(r#"{"n":0}"#), Intent::Update(payload(r#"{"n":1}"#)));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let news = bench.news(&edited, &live(r#"{"n":5}"#, 2, 2)).unwrap();
    std::panic::set_hook(hook);
    assert!(matches!(
        &news.after.ops[0].state,
        OpState::Parked(ParkReason::ResolverFailed { .. })
    ));
    assert_eq!(text(&news.after.view), Some(serde_json::json!({"n": 1})));
}

#[test]
fn a_deferred_conflict_keeps_the_local_value_until_the_user_decides() {
    let bench = Bench::new(Manual);
    let edited = bench.write(&confirmed(r#"{"n":0}"#), Intent::Update(payload(r#"{"n":1}"#)));
    let deferred = bench.news(&edited, &live(r#"{"n":5}"#, 2, 2)).unwrap();
    let open = deferred.conflict.clone().unwrap();
    assert!(open.is_open());
    assert_eq!(open.base, Some(payload(r#"{"n":0}"#)));
    let mut state = deferred.after;
    stored(&mut state);
    let edited_again = bench.write(&state, Intent::Update(payload(r#"{"n":3}"#)));
    assert_eq!(
        (edited_again.ops.len(), &edited_again.ops[0].state),
        (1, &OpState::Deferred)
    );

    let around = bench.around();
    let merged = Resolution::Merged(payload(r#"{"n":4}"#));
    let settled = settle_deferred(&edited_again, &open, merged, &around).unwrap();
    assert_eq!(settled.after.ops[0].state, OpState::Queued);
    assert_eq!(settled.conflict.unwrap().settlement, Some(Settlement::Merged));
    let taken = settle_deferred(&edited_again, &open, Resolution::TakeRemote, &around).unwrap();
    assert_eq!(text(&taken.after.view), Some(serde_json::json!({"n": 5})));
    assert!(settle_deferred(&taken.after, &open, Resolution::KeepLocal, &around).is_err());
}
