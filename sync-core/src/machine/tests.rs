//! The state machine, one record at a time.

mod details;
mod upgrades;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::*;
use crate::{
    AlwaysOnline, Clock, CollectionName, OpId, OpState, ParkReason, PushOutcome, RandomSource, RecordId,
    RecordKey, RemoteVersion, Settlement, Spawner, Stamp, SyncScope, Target, Timer, Tombstone, Versioned,
    resolve::{Conflict, LastWriteWins, Manual, Resolution, ServerWins},
};

/// Effects of a world in which nothing happens by itself.
#[derive(Debug)]
struct Still;

/// Counts, so that identities differ and every run is the same.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

#[async_trait::async_trait]
impl Timer for Still {
    async fn sleep(&self, _: Duration) {
        panic!("the state machine never waits");
    }
}

impl RandomSource for Counter {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Spawner for Still {
    fn spawn(&self, _: futures::future::BoxFuture<'static, ()>) {
        panic!("the state machine has no tasks");
    }
}

/// A resolver for tests in which there must be no conflict.
#[derive(Debug)]
struct MustNotBeCalled;

impl ConflictResolver for MustNotBeCalled {
    fn name(&self) -> &str {
        "must_not_be_called"
    }

    fn resolve(&self, conflict: &Conflict) -> Result<Resolution> {
        panic!("no conflict was expected, got {conflict:?}");
    }
}

struct Bench {
    effects: Effects,
    clock: HybridClock,
    resolver: Box<dyn ConflictResolver>,
    schema: crate::CollectionSchema,
}

impl Bench {
    fn new(resolver: impl ConflictResolver) -> Self {
        let effects = Effects {
            clock: Arc::new(Still),
            timer: Arc::new(Still),
            random: Arc::new(Counter::default()),
            spawner: Arc::new(Still),
            connectivity: Arc::new(AlwaysOnline),
        };
        let clock = HybridClock::new(7, HybridClock::DEFAULT_MAX_AHEAD);
        Self {
            effects,
            clock,
            resolver: Box::new(resolver),
            schema: crate::CollectionSchema::untyped("todos", "id").unwrap(),
        }
    }

    fn around(&self) -> Surroundings<'_> {
        Surroundings {
            effects: &self.effects,
            clock: &self.clock,
            resolver: &*self.resolver,
            now: Timestamp::from_millis(1_000),
            server_offset: 0,
            remote_keeps_stamps: true,
        }
    }

    fn write(&self, state: &RecordState, intent: Intent) -> RecordState {
        self.try_write(state, intent).unwrap()
    }

    fn try_write(&self, state: &RecordState, intent: Intent) -> Result<RecordState> {
        let context = WriteContext {
            op_id: self.effects.new_op_id(),
            stamp: self.clock.tick(Timestamp::from_millis(1_000)),
            now: Timestamp::from_millis(1_000),
            schema: &self.schema,
            group: None,
        };
        let mut after = write(state, intent, context)?;
        stored(&mut after);
        Ok(after)
    }

    fn news(&self, state: &RecordState, remote: &RemoteState) -> Option<Transition> {
        news(state, remote, MergeContext::default(), &self.around()).unwrap()
    }

    fn answer(&self, state: &RecordState, outcome: &PushOutcome) -> Acknowledged {
        self.answer_with(state, outcome, None)
    }

    fn answer_with(
        &self,
        state: &RecordState,
        outcome: &PushOutcome,
        current: Option<&RemoteState>,
    ) -> Acknowledged {
        let op_id = state.ops[0].op_id;
        acknowledge(
            state,
            op_id,
            outcome,
            current,
            Attempt {
                pause: Duration::from_secs(1),
                ..Attempt::default()
            },
            &self.around(),
        )
        .unwrap()
    }
}

/// What a store does at a commit: numbers for new operations, a new revision.
fn stored(state: &mut RecordState) {
    let last = state.ops.iter().map(|op| op.seq).max().unwrap_or(0);
    let new = state.ops.iter_mut().filter(|op| op.seq == 0);
    for (op, seq) in new.zip(last + 1..) {
        op.seq = seq;
    }
    state.revision += 1;
}

fn payload(text: &str) -> Payload {
    Payload::parse(text).unwrap()
}

fn key() -> RecordKey {
    let target = Target::new(
        CollectionName::new("todos").unwrap(),
        SyncScope::new("s").unwrap(),
    );
    RecordKey::new(target, RecordId::new("r").unwrap())
}

fn version(order: i64) -> RemoteVersion {
    RemoteVersion::ordered(order.to_string(), order)
}

fn live(text: &str, order: i64, stamp_millis: u64) -> RemoteState {
    let stamp = Stamp::new(stamp_millis, 0, 99);
    RemoteState::Live(Versioned::new(payload(text), version(order)).with_stamp(Some(stamp)))
}

fn deleted(order: i64, stamp_millis: u64) -> RemoteState {
    let stamp = Some(Stamp::new(stamp_millis, 0, 99));
    RemoteState::Deleted(Tombstone {
        version: Some(version(order)),
        stamp,
        server_time: None,
    })
}

fn absent() -> RecordState {
    RecordState::absent(key())
}

fn confirmed(text: &str) -> RecordState {
    let mut state = absent();
    state.base = live(text, 1, 1);
    state.view = Some(payload(text));
    state.revision = 1;
    state
}

fn sent(mut state: RecordState) -> RecordState {
    state.ops[0].state = OpState::InDoubt;
    state.ops[0].attempts += 1;
    state
}

fn text(view: &Option<Payload>) -> Option<serde_json::Value> {
    view.as_ref().map(|payload| payload.decode().unwrap())
}

#[test]
fn unsent_writes_coalesce_as_the_table_says() {
    let bench = Bench::new(MustNotBeCalled);
    let (a, b) = (r#"{"t":1,"u":1}"#, r#"{"t":2,"u":1}"#);
    let created = bench.write(&absent(), Intent::Create(payload(a)));

    let changed = bench.write(&created, Intent::Update(payload(b)));
    assert_eq!((changed.ops.len(), changed.ops[0].kind), (1, OpKind::Create));
    assert_eq!(
        changed.ops[0].op_id, created.ops[0].op_id,
        "never sent, so the identity may stay"
    );
    assert_eq!(changed.view, Some(payload(b)));

    let gone = bench.write(&created, Intent::Delete);
    assert!(gone.ops.is_empty() && gone.view.is_none());

    let base = confirmed(a);
    let updated = bench.write(&base, Intent::Update(payload(b)));
    let both = bench.write(&updated, Intent::Update(payload(r#"{"t":2}"#)));
    assert_eq!(
        both.ops[0].changed,
        ChangedFields::Only(["t".to_owned(), "u".to_owned()].into())
    );
    assert_eq!(both.ops[0].kind, OpKind::Update);

    let deleted = bench.write(&updated, Intent::Delete);
    assert_eq!((deleted.ops.len(), deleted.ops[0].kind), (1, OpKind::Delete));
    let replaced = bench.write(&deleted, Intent::Create(payload(r#"{"new":1}"#)));
    assert_eq!(
        (replaced.ops[0].kind, &replaced.ops[0].changed),
        (OpKind::Update, &ChangedFields::All)
    );
}

#[test]
fn wrong_writes_are_refused_and_change_nothing() {
    let bench = Bench::new(MustNotBeCalled);
    let there = confirmed("{}");
    assert_eq!(
        bench
            .try_write(&there, Intent::Create(payload("{}")))
            .unwrap_err()
            .field(),
        Some("id")
    );
    let error = bench
        .try_write(&absent(), Intent::Update(payload("{}")))
        .unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::NotFound);
    assert!(bench.try_write(&absent(), Intent::Delete).is_err());
}

#[test]
fn a_write_behind_an_outstanding_answer_is_queued_and_not_merged_into_it() {
    let bench = Bench::new(MustNotBeCalled);
    let in_flight = sent(bench.write(&confirmed(r#"{"n":0}"#), Intent::Update(payload(r#"{"n":1}"#))));
    let after = bench.write(&in_flight, Intent::Update(payload(r#"{"n":2}"#)));
    assert_eq!(after.ops.len(), 2);
    assert_eq!(after.ops[0], in_flight.ops[0]);

    let Acknowledged::Done(done) = bench.answer(&after, &PushOutcome::applied(version(2))) else {
        panic!()
    };
    assert_eq!(
        text(&done.after.view),
        Some(serde_json::json!({"n": 2})),
        "the newer edit stays visible"
    );
    assert_eq!(done.after.ops.len(), 1);
    assert_eq!(done.after.base.version(), Some(&version(2)));
}

#[test]
fn a_retried_operation_gets_a_new_identity_when_its_content_changes() {
    let bench = Bench::new(MustNotBeCalled);
    let in_flight = sent(bench.write(&absent(), Intent::Create(payload(r#"{"n":1}"#))));
    let retry = PushOutcome::Retry {
        after: None,
        reason: "busy".into(),
    };
    let Acknowledged::Again(again) = bench.answer(&in_flight, &retry) else {
        panic!()
    };
    assert_eq!(again.after.ops[0].op_id, in_flight.ops[0].op_id);
    let edited = bench.write(&again.after, Intent::Update(payload(r#"{"n":2}"#)));
    assert_ne!(edited.ops[0].op_id, in_flight.ops[0].op_id);
    assert_eq!(edited.ops.len(), 1);
}

#[test]
fn a_server_change_on_the_way_keeps_later_edits_of_other_fields() {
    let bench = Bench::new(MustNotBeCalled);
    let in_flight = sent(bench.write(
        &confirmed(r#"{"a":0,"b":0}"#),
        Intent::Update(payload(r#"{"a":1,"b":0}"#)),
    ));
    let edited = bench.write(&in_flight, Intent::Update(payload(r#"{"a":1,"b":5}"#)));
    let outcome = PushOutcome::Applied {
        version: version(2),
        record: Some(payload(r#"{"a":9,"b":0}"#)),
        server_time: None,
    };
    let Acknowledged::Done(done) = bench.answer(&edited, &outcome) else {
        panic!()
    };
    assert_eq!(text(&done.after.view), Some(serde_json::json!({"a": 9, "b": 5})));
}

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

#[test]
fn discarding_returns_the_last_confirmed_state() {
    let bench = Bench::new(MustNotBeCalled);
    let edited = bench.write(&confirmed(r#"{"n":0}"#), Intent::Update(payload(r#"{"n":1}"#)));
    assert_eq!(text(&discard(&edited).view), Some(serde_json::json!({"n": 0})));
    let created = bench.write(&absent(), Intent::Create(payload("{}")));
    let transition = Transition::new(created.clone(), discard(&created));
    let mut changes = ChangeSet::at(Timestamp::EPOCH);
    transition.add_to(&mut changes);
    assert_eq!(changes.removals, [key()]);
    assert_eq!(changes.ops, [OpChange::Remove(created.ops[0].op_id)]);
}

#[test]
fn deleting_a_deleted_record_raises_its_stamp() {
    let bench = Bench::new(MustNotBeCalled);
    let mut state = confirmed("{}");
    state.base = deleted(5, 5);
    state.view = None;
    let again = bench.write(&state, Intent::Delete);
    assert_eq!(again.ops[0].kind, OpKind::Delete);
    assert!(again.ops[0].stamp > state.base.stamp().unwrap());
}

#[test]
fn equal_content_is_still_a_write() {
    let bench = Bench::new(MustNotBeCalled);
    let same = bench.write(&confirmed(r#"{"n":0}"#), Intent::Update(payload(r#"{"n":0}"#)));
    assert_eq!(same.ops[0].changed, ChangedFields::Only([].into()));
}
