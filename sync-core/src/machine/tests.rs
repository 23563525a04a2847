//! The state machine, one record at a time.

mod conflicts;
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
            remote_remembers_ops: true,
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
