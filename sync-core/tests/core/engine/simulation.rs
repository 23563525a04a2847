//! Devices that write, synchronize and crash at random against a remote that fails at random.
//!
//! Every task is moved one step at a time in a random order, so writes fall between any two steps of a
//! synchronization, and crashes stop it at any of them. A failure names its seed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use adapter_memory::{
    MemoryLocalStore, MemoryRemoteBuilder, MemoryRemoteStore,
    faults::{Call, Fault, FaultRates},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sync_core::{
    CollectionName, EngineOptions, LocalStoreExt, OpQuery, RecordId, RecordKey, SimpleSyncOrchestrator,
    Stamp, SyncScope, Target, Write, resolve::LastWriteWins,
};
use sync_testkit::effects::TestEffects;

use super::{
    hooks::{HookedRemote, HookedStore, Hooks},
    lab,
    steps::Steps,
    world::{Todo, todo},
};

const STEPS: usize = 60;
const IDS: [&str; 4] = ["a", "b", "c", "d"];

/// A device of the simulation.
struct Simulated {
    store: MemoryLocalStore,
    client: MemoryRemoteStore,
    steps: Steps,
    todos: SimpleSyncOrchestrator<Todo>,
}

/// A write that was acknowledged to the user.
#[derive(Debug)]
struct Acknowledged {
    device: usize,
    /// The operation that carries it.
    seq: u64,
    stamp: Stamp,
    /// `None` = a delete.
    title: Option<String>,
}

struct Simulation {
    seed: u64,
    dice: SmallRng,
    time: TestEffects,
    remote: MemoryRemoteStore,
    devices: Vec<Simulated>,
    history: BTreeMap<RecordKey, Vec<Acknowledged>>,
    writes: usize,
}

fn scopes() -> [SyncScope; 2] {
    ["u1", "u2"].map(|user| SyncScope::new("inbox").unwrap().with("user", user).unwrap())
}

fn target(scope: &SyncScope) -> Target {
    Target::new(CollectionName::new("todos").unwrap(), scope.clone())
}

impl Simulation {
    fn new(seed: u64, adjust: impl Fn(MemoryRemoteBuilder) -> MemoryRemoteBuilder) -> Self {
        let steps = Steps::default();
        let time = TestEffects::with_spawner(seed, Arc::new(steps.clone()));
        let remote = adjust(MemoryRemoteStore::builder().clock(Arc::new(time.clock.clone()))).build();
        let mut simulation = Self {
            seed,
            dice: SmallRng::seed_from_u64(seed),
            time,
            remote,
            devices: Vec::new(),
            history: BTreeMap::new(),
            writes: 0,
        };
        for _ in 0..3 {
            let client = simulation.remote.another_client();
            let device = simulation.start(MemoryLocalStore::new(), client);
            simulation.devices.push(device);
        }
        simulation
    }

    fn start(&mut self, store: MemoryLocalStore, client: MemoryRemoteStore) -> Simulated {
        let steps = Steps::default();
        let hooks = Hooks::default();
        let local = HookedStore {
            store: store.clone(),
            hooks: hooks.clone(),
        };
        let connection = HookedRemote {
            remote: client.clone(),
            hooks,
        };
        let options = EngineOptions::default()
            .with_page_size(self.dice.random_range(1..5))
            .with_commit_rows(self.dice.random_range(1..6))
            .with_push_batch(self.dice.random_range(1..4))
            .with_sweep_interval(Duration::ZERO);
        let effects = sync_core::Effects {
            spawner: Arc::new(steps.clone()),
            ..self.time.effects()
        };
        let engine = steps.run(lab::engine(
            Arc::new(local),
            Arc::new(connection),
            effects,
            LastWriteWins,
            options,
        ));
        Simulated {
            store,
            client,
            steps,
            todos: engine.of().unwrap(),
        }
    }

    fn disturb(&mut self, rates: FaultRates) {
        for (number, device) in self.devices.iter().enumerate() {
            device
                .client
                .faults()
                .randomize(self.seed * 10 + number as u64, rates);
        }
    }

    fn act(&mut self) {
        let at = self.dice.random_range(0..self.devices.len());
        let scope = scopes()[self.dice.random_range(0..2)].clone();
        match self.dice.random_range(0..100) {
            0..40 => self.write(at, &scope),
            40..80 => {
                let device = &self.devices[at];
                let (todos, scope) = (device.todos.clone(), scope);
                let full = self.dice.random_range(0..20) == 0;
                sync_core::Spawner::spawn(
                    &device.steps,
                    Box::pin(async move {
                        let _ = if full {
                            todos.full_resync(&scope).await
                        } else {
                            todos.synchronize(&scope).await
                        };
                    }),
                );
            }
            80..88 => self.crash(at),
            88..94 => self.devices[at]
                .client
                .faults()
                .script(Call::Pull, Fault::ExpireCursor),
            _ => self.time.clock.advance(Duration::from_secs(30)),
        }
        self.time.clock.advance(Duration::from_millis(5));
        for _ in 0..self.dice.random_range(0..60) {
            let device = &self.devices[self.dice.random_range(0..self.devices.len())];
            let left = device.steps.left();
            if left > 0 {
                device.steps.step(self.dice.random_range(0..left));
            }
        }
    }

    /// A write that is acknowledged before anything else happens on the device.
    fn write(&mut self, at: usize, scope: &SyncScope) {
        let id = IDS[self.dice.random_range(0..IDS.len())];
        let key = RecordKey::new(target(scope), RecordId::new(id).unwrap());
        let device = &self.devices[at];
        let before = device.steps.run_alone(device.store.load_record(&key)).unwrap();
        self.writes += 1;
        let title = format!("{} by {at}", self.writes);
        let record = todo(id, &title);
        let delete = self.dice.random_range(0..3) == 0;
        let (write, title) = match (&before.view, delete) {
            (None, true) => return,
            (Some(_), true) => (Write::delete::<Todo>(scope, &id.to_owned()), None),
            (Some(_), false) => (Write::update(scope, &record), Some(title)),
            (None, false) => (Write::create(scope, &record), Some(title)),
        };
        device
            .steps
            .run_alone(device.todos.engine().write(write.unwrap()))
            .unwrap();
        let after = device.steps.run_alone(device.store.load_record(&key)).unwrap();
        let history = self.history.entry(key).or_default();
        // It annulled a create that was not sent; nobody will ever hear of either.
        if after.ops.len() < before.ops.len() {
            let annulled = before.ops.last().map(|op| op.seq);
            history.retain(|write| write.device != at || Some(write.seq) != annulled);
        } else if let Some(op) = after.ops.last() {
            history.push(Acknowledged {
                device: at,
                seq: op.seq,
                stamp: op.stamp,
                title,
            });
        }
    }

    fn crash(&mut self, at: usize) {
        self.devices[at].steps.kill();
        let (store, client) = (self.devices[at].store.reopen(), self.devices[at].client.clone());
        self.devices[at] = self.start(store, client);
        // The lease of the dead one ends by its time.
        self.time.clock.advance(Duration::from_secs(60));
    }

    /// Every fault ends; nothing else is done than to synchronize.
    fn heal(&mut self) {
        for device in &self.devices {
            device.client.faults().calm();
        }
        for _ in 0..4 {
            for device in &self.devices {
                for scope in scopes() {
                    self.time.clock.advance(Duration::from_secs(900));
                    device.steps.run(device.todos.synchronize(&scope)).unwrap();
                }
            }
        }
    }

    /// All replicas are equal, and nothing is left to send.
    fn check_replicas(&self) {
        for scope in scopes() {
            let truth = self.remote.dump(&target(&scope));
            for (at, device) in self.devices.iter().enumerate() {
                for id in IDS {
                    let key = RecordKey::new(target(&scope), RecordId::new(id).unwrap());
                    let state = device.steps.run_alone(device.store.load_record(&key)).unwrap();
                    assert_eq!(state.ops, [], "seed {}, device {at}, {key}", self.seed);
                    assert_eq!(
                        state.view.as_ref().map(title_of),
                        truth.get(&key.id).map(title_of),
                        "seed {}, device {at}, {key}",
                        self.seed
                    );
                }
            }
        }
        for device in &self.devices {
            let left = device
                .steps
                .run_alone(device.todos.engine().pending_ops(&OpQuery::default()));
            assert_eq!(left.unwrap(), [], "seed {}", self.seed);
        }
    }

    /// Each record holds the write with the greatest stamp of all that were acknowledged.
    fn check_winners(&self) {
        for (key, history) in &self.history {
            let Some(last) = history.iter().max_by_key(|write| write.stamp) else {
                continue;
            };
            let truth = self.remote.dump(&key.target);
            assert_eq!(
                truth.get(&key.id).map(title_of),
                last.title,
                "seed {}, {key}: {history:#?}",
                self.seed
            );
        }
    }

    /// No operation took effect twice.
    fn check_effects(&self) {
        for batch in self.remote.push_log() {
            for op in batch.ops {
                let count = self.remote.applied_count(op.op_id);
                assert!(
                    count <= 1,
                    "seed {}, {:?} took effect {count} times",
                    self.seed,
                    op
                );
            }
        }
    }
}

fn title_of(payload: &sync_core::Payload) -> String {
    payload.decode::<Todo>().unwrap().title
}

fn rough() -> FaultRates {
    FaultRates {
        fail_before: 0.06,
        fail_after: 0.08,
        duplicate: 0.05,
        redeliver: 0.05,
        retry_ops: 0.05,
        page_cap: 0.1,
        expire_cursor: 0.03,
        ..FaultRates::default()
    }
}

fn simulate(
    seeds: std::ops::Range<u64>,
    rates: FaultRates,
    adjust: impl Fn(MemoryRemoteBuilder) -> MemoryRemoteBuilder,
    check: impl Fn(&Simulation),
) {
    for seed in seeds {
        let mut simulation = Simulation::new(seed, &adjust);
        simulation.disturb(rates);
        for _ in 0..STEPS {
            simulation.act();
        }
        simulation.heal();
        simulation.check_replicas();
        check(&simulation);
    }
}

// P1-P3, P5-P8, P16: the whole of the sync at once.
#[test]
fn devices_on_a_bad_network_end_equal_with_the_latest_write_of_each_record() {
    simulate(
        0..150,
        rough(),
        |builder| builder,
        |simulation| {
            simulation.check_winners();
            simulation.check_effects();
        },
    );
}

// P7 without idempotency: a lost answer is found out by the state of the record.
#[test]
fn devices_end_equal_when_the_remote_forgets_operations() {
    let forgetful = |builder: MemoryRemoteBuilder| builder.adjust(|can| can.idempotent_push = false);
    simulate(1_000..1_080, rough(), forgetful, |simulation| {
        simulation.check_winners();
        simulation.check_effects();
    });
}

// P5, P6 on the weakest backends: what the cursor cannot tell is found by sweeps and snapshots.
#[test]
fn devices_end_equal_over_backends_that_promise_little() {
    // A doubled or late request overwrites what came between, and no client can prevent that.
    let rates = FaultRates {
        duplicate: 0.0,
        redeliver: 0.0,
        ..rough()
    };
    let timestamps = |builder: MemoryRemoteBuilder| builder.timestamp_profile(Duration::from_secs(1));
    simulate(2_000..2_080, rates, timestamps, |_| {});
    simulate(3_000..3_080, rates, MemoryRemoteBuilder::snapshot_profile, |_| {});
}
