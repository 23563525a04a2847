//! Single fields of operations and conflicts that a slip would spoil without any other trace.

use uuid::Uuid;

use super::*;

/// Answers every conflict with the same merged value.
#[derive(Debug)]
struct Merges(&'static str);

impl ConflictResolver for Merges {
    fn name(&self) -> &str {
        "merges"
    }

    fn resolve(&self, _: &Conflict) -> Result<Resolution> {
        Ok(Resolution::Merged(payload(self.0)))
    }
}

/// Takes the remote value after a look at the conflict.
#[derive(Debug)]
struct Looks(fn(&Conflict));

impl ConflictResolver for Looks {
    fn name(&self) -> &str {
        "looks"
    }

    fn resolve(&self, conflict: &Conflict) -> Result<Resolution> {
        (self.0)(conflict);
        Ok(Resolution::TakeRemote)
    }
}

fn update(bench: &Bench, state: &RecordState, text: &str) -> RecordState {
    bench.write(state, Intent::Update(payload(text)))
}

/// A write of a member of a write batch.
fn update_in_group(bench: &Bench, state: &RecordState, text: &str, group: u128) -> RecordState {
    let context = WriteContext {
        op_id: bench.effects.new_op_id(),
        stamp: bench.clock.tick(Timestamp::from_millis(1_000)),
        now: Timestamp::from_millis(1_000),
        schema: &bench.schema,
        group: Some(Uuid::from_u128(group)),
    };
    let mut after = write(state, Intent::Update(payload(text)), context).unwrap();
    stored(&mut after);
    after
}

#[test]
fn writes_that_coalesce_have_the_base_of_the_first_and_the_stamp_of_the_last() {
    let bench = Bench::new(MustNotBeCalled);
    let mut once = update(&bench, &confirmed(r#"{"t":1}"#), r#"{"t":2}"#);
    let base = live(r#"{"t":0}"#, 1, 1);
    // As after a resolver that failed: the record's base moved on, the operation's did not.
    once.ops[0].base = Some(base.clone());
    let first = once.ops[0].stamp;
    let twice = update(&bench, &once, r#"{"t":3}"#);
    assert_eq!(twice.ops.len(), 1);
    assert_eq!(twice.ops[0].base, Some(base));
    assert!(
        twice.ops[0].stamp > first,
        "the last write decides against others"
    );
    assert_eq!(twice.ops[0].stamp, bench.clock.latest());
}

#[test]
fn members_of_different_write_batches_stay_apart_and_single_writes_join_the_last() {
    let bench = Bench::new(MustNotBeCalled);
    let one = update_in_group(&bench, &confirmed(r#"{"t":1}"#), r#"{"t":2}"#, 1);
    let same = update_in_group(&bench, &one, r#"{"t":3}"#, 1);
    assert_eq!(same.ops.len(), 1);
    let two = update_in_group(&bench, &one, r#"{"t":4}"#, 2);
    assert_eq!(two.ops.len(), 2, "each batch takes effect as a whole");
    let single = update(&bench, &two, r#"{"t":5}"#);
    assert_eq!(single.ops.len(), 2);
    assert_eq!(single.ops[1].group, Some(Uuid::from_u128(2)));
}

#[test]
fn a_retry_waits_as_long_as_the_remote_asks_and_no_answer_leaves_a_doubt() {
    let bench = Bench::new(MustNotBeCalled);
    let state = sent(update(&bench, &confirmed(r#"{"t":1}"#), r#"{"t":2}"#));
    let asked = PushOutcome::Retry {
        after: Some(Duration::from_secs(60)),
        reason: "slow down".to_owned(),
    };
    let Acknowledged::Again(waits) = bench.answer(&state, &asked) else {
        panic!("it is tried again")
    };
    assert_eq!(waits.after.ops[0].state, OpState::Queued);
    assert_eq!(waits.after.ops[0].next_attempt_at, Timestamp::from_millis(61_000));
    let unknown = PushOutcome::Unknown {
        reason: "no answer".to_owned(),
    };
    let Acknowledged::Again(doubts) = bench.answer(&state, &unknown) else {
        panic!("it is tried again")
    };
    assert_eq!(
        doubts.after.ops[0].state,
        OpState::InDoubt,
        "it may have taken effect"
    );
    assert_eq!(doubts.after.ops[0].next_attempt_at, Timestamp::from_millis(2_000));
}

#[test]
fn an_answer_to_another_operation_acknowledges_nothing() {
    let bench = Bench::new(MustNotBeCalled);
    let state = update(&bench, &confirmed(r#"{"t":1}"#), r#"{"t":2}"#);
    let answered = acknowledge(
        &state,
        bench.effects.new_op_id(),
        &PushOutcome::applied(version(2)),
        None,
        Attempt::default(),
        &bench.around(),
    );
    assert!(matches!(answered.unwrap(), Acknowledged::Unknown));
}

#[test]
fn a_foreign_write_after_a_lost_answer_is_a_conflict_with_what_the_user_wrote_since() {
    let bench = Bench::new(ServerWins);
    let first = sent(update(&bench, &confirmed(r#"{"t":1}"#), r#"{"t":2}"#));
    let mut both = update(&bench, &first, r#"{"t":3}"#);
    assert_eq!(both.ops.len(), 2);
    let theirs = live(r#"{"t":"theirs"}"#, 9, 5_000);
    // A pull brought the news while the answer was outstanding.
    both.ops[0].base = Some(both.base.clone());
    both.base = theirs.clone();
    let duplicate = PushOutcome::Duplicate { version: None };
    let answered = bench.answer_with(&both, &duplicate, Some(&theirs));
    let Acknowledged::Conflict(transition) = answered else {
        panic!("{answered:?}")
    };
    assert_eq!(
        text(&transition.after.view),
        Some(serde_json::json!({"t": "theirs"}))
    );
}

#[test]
fn a_merged_value_is_later_than_both_sides() {
    let bench = Bench::new(Merges(r#"{"t":"merged"}"#));
    let state = update(&bench, &confirmed(r#"{"t":1}"#), r#"{"t":2}"#);
    let local = state.ops[0].stamp;
    let merged = bench
        .news(&state, &live(r#"{"t":"theirs"}"#, 2, 900))
        .unwrap()
        .after;
    assert!(merged.ops[0].stamp > local, "other devices must take it");
}

#[test]
fn a_deferred_conflict_of_several_operations_keeps_the_latest_value() {
    let bench = Bench::new(Manual);
    let one = update_in_group(&bench, &confirmed(r#"{"t":1}"#), r#"{"t":2}"#, 1);
    let two = update_in_group(&bench, &one, r#"{"t":3}"#, 2);
    let deferred = bench
        .news(&two, &live(r#"{"t":"theirs"}"#, 2, 900))
        .unwrap()
        .after;
    assert_eq!(deferred.ops.len(), 1);
    assert_eq!(deferred.ops[0].state, OpState::Deferred);
    assert_eq!(text(&deferred.ops[0].payload), Some(serde_json::json!({"t": 3})));
}

#[test]
fn a_resolver_sees_no_stamp_from_the_far_future_and_local_times_as_the_server_counts() {
    let future = Bench::new(Looks(|conflict| assert_eq!(conflict.remote_stamp, None)));
    let state = update(&future, &confirmed(r#"{"t":1}"#), r#"{"t":2}"#);
    let far = u64::try_from(HybridClock::DEFAULT_MAX_AHEAD.as_millis()).unwrap() + 10_000;
    let told = future.news(&state, &live(r#"{"t":"theirs"}"#, 2, far)).unwrap();
    // A resolver that panics parks the operation.
    assert_eq!(told.after.ops, []);

    let offset = Bench::new(Looks(|conflict| {
        assert_eq!(
            conflict.local_time,
            conflict.local_stamp.time().plus_micros(5_000_000)
        );
    }));
    let state = update(&offset, &confirmed(r#"{"t":1}"#), r#"{"t":2}"#);
    let around = Surroundings {
        server_offset: 5_000_000,
        ..offset.around()
    };
    let remote = live(r#"{"t":"theirs"}"#, 2, 900);
    let told = news(&state, &remote, MergeContext::default(), &around).unwrap();
    assert_eq!(told.unwrap().after.ops, []);
}

#[test]
fn a_record_that_is_missing_is_no_proof_of_a_delete_in_doubt() {
    let bench = Bench::new(MustNotBeCalled);
    let state = sent(bench.write(&confirmed(r#"{"t":1}"#), Intent::Delete));
    let told = bench.news(&state, &RemoteState::Missing).unwrap().after;
    assert_eq!(told.ops.len(), 1, "only the answer can tell");
    let proven = bench.news(&state, &deleted(2, 0));
    assert!(proven.is_some());
}

#[test]
fn a_record_of_which_nothing_is_left_is_removed_only_as_it_was_read() {
    let bench = Bench::new(MustNotBeCalled);
    let before = bench.write(&absent(), Intent::Create(payload(r#"{"t":1}"#)));
    let mut changes = ChangeSet::default();
    Transition::new(before.clone(), discard(&before)).add_to(&mut changes);
    assert_eq!(changes.removals, [key()]);
    assert_eq!(changes.guards, [(key(), before.revision)]);
}

#[test]
fn another_version_of_the_same_content_becomes_the_base() {
    let bench = Bench::new(MustNotBeCalled);
    let state = confirmed(r#"{"t":1}"#);
    let told = bench.news(&state, &live(r#"{"t":1}"#, 2, 900)).unwrap().after;
    assert_eq!(
        told.base.version(),
        Some(&version(2)),
        "the next write is made on it"
    );
}
