//! One simulation: its devices, and how its steps are carried out one after another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use adapter_memory::MemoryLocalStore;
use sync_core::{LocalStore, ManualConnectivity, Payload, RecordKey, RecordState, RemoteStore, Result};

use super::{
    app::App,
    backend::{Backends, Operation},
    coverage::Branch,
    dice::Dice,
    doubles::Doubles,
    effects::DeviceClock,
    executor::{Executor, Owner, SimulatedTimer},
    fault_kind::FaultKind,
    ledger::Ledger,
    outcome::Outcome,
    plan::{DeviceSettings, Place, Plan, Profile},
    processes::Process,
    records::Names,
    shared::Shared,
};
use crate::naive::client::Kept;

/// Polls of one call or one pause, at most. More is an endless loop.
pub(crate) const MOST_POLLS: u64 = 200_000;

/// How often background drivers synchronize when nothing asks for it.
pub(crate) const INTERVAL: Duration = Duration::from_secs(300);

pub(crate) struct Device {
    pub(crate) settings: DeviceSettings,
    pub(crate) clock: DeviceClock,
    pub(crate) connectivity: ManualConnectivity,
    pub(crate) connection: Arc<dyn RemoteStore>,
    pub(crate) schema_version: u32,
    pub(crate) processes: Vec<Process>,
    /// What a naive client keeps there.
    pub(super) kept: Arc<Mutex<Kept>>,
    /// The next call of the app is dropped after so many polls.
    pub(crate) drop_after: Option<u64>,
}

/// How a call of the app ended.
pub(crate) enum Ended<T> {
    Answered(T),
    /// It was dropped, or its process was.
    Unknown,
}

pub(crate) struct World<'a> {
    pub(crate) plan: &'a Plan,
    pub(super) doubles: &'a Doubles,
    pub(crate) shared: Arc<Shared>,
    pub(crate) executor: Executor,
    pub(crate) dice: Dice,
    pub(crate) names: Names,
    pub(crate) devices: Vec<Device>,
    /// How many processes were started.
    pub(super) owners: Owner,
    /// Numbers of writes.
    pub(crate) writes: u64,
    pub(crate) operations: u64,
    /// The number of the current step.
    pub(crate) step: usize,
    /// Where rows were put that nobody understands.
    pub(crate) malformed: Vec<Place>,
    /// The same, as records, as long as nobody wrote them again.
    pub(crate) broken: BTreeSet<RecordKey>,
    /// What the remote ends with.
    pub(crate) truth: BTreeMap<RecordKey, Payload>,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        backends: &dyn Backends,
        doubles: &'a Doubles,
        keep_lines: bool,
    ) -> Result<Self> {
        let executor = Executor::default();
        let true_clock = DeviceClock::new(executor.clone(), 0);
        let timer = Arc::new(SimulatedTimer(executor.clone()));
        let known = backends.profiles();
        let profile = Some(plan.settings.profile).filter(|wanted| known.contains(wanted));
        let backend = backends.make(profile.unwrap_or(Profile::Strong), Arc::new(true_clock), timer);
        let stores: Vec<_> = plan
            .settings
            .devices
            .iter()
            .map(|_| MemoryLocalStore::new())
            .collect();
        let shared = Arc::new(Shared::new(
            executor.clone(),
            Arc::clone(&backend),
            stores,
            Ledger::new(keep_lines),
        ));
        let names = Names::new(plan.settings.scopes.max(1))?;
        let settings = plan.settings.devices.iter().enumerate();
        let devices: Vec<Device> = settings
            .map(|(number, settings)| Device {
                settings: settings.clone(),
                clock: DeviceClock::new(executor.clone(), settings.clock_skew_millis * 1_000),
                connectivity: ManualConnectivity::new(true),
                connection: backend.connect(number),
                schema_version: 1,
                processes: Vec::new(),
                kept: Arc::default(),
                drop_after: None,
            })
            .collect();
        let mut world = Self {
            plan,
            doubles,
            executor,
            dice: Dice::new(plan.seed),
            names,
            devices,
            shared,
            owners: 0,
            writes: 0,
            operations: 0,
            step: 0,
            malformed: Vec::new(),
            broken: BTreeSet::new(),
            truth: BTreeMap::new(),
        };
        world.set_up()?;
        Ok(world)
    }

    fn set_up(&mut self) -> Result<()> {
        let skews: Vec<i64> = self
            .devices
            .iter()
            .map(|device| device.settings.clock_skew_millis)
            .collect();
        for _ in skews.iter().filter(|skew| **skew != 0) {
            self.shared.struck(FaultKind::ClientClockSkew);
        }
        // Stamps from further ahead than a clock accepts are not compared.
        let apart = skews
            .iter()
            .max()
            .zip(skews.iter().min())
            .map_or(0, |(most, least)| most - least);
        self.shared.ledger().all_inexact |= apart > 3_000_000;
        if self.plan.settings.server_changes {
            self.shared.backend.operate(Operation::ChangeRecords);
            self.shared.ledger().all_inexact = true;
        }
        for device in 0..self.devices.len() {
            self.shared.weather().devices[device].asked_by_user = !self.plan.settings.background;
            self.open(device)?;
        }
        Ok(())
    }

    /// Ends a process at once.
    pub(crate) fn kill(&mut self, device: usize, owner: Owner) {
        self.shared
            .note(format_args!("device {device}: process {owner} ends"));
        self.devices[device]
            .processes
            .retain(|process| process.owner != owner);
        self.executor.kill(owner);
    }

    /// Ends the processes that met their end in a call of their store, and starts them again.
    pub(crate) fn bury(&mut self) -> Result<()> {
        for owner in self.shared.take_doomed() {
            let runs = |device: &Device| device.processes.iter().any(|process| process.owner == owner);
            if let Some(device) = self.devices.iter().position(runs) {
                self.kill(device, owner);
                self.open(device)?;
            }
        }
        Ok(())
    }

    /// The process of a device that does what comes next.
    pub(crate) fn app(&self, device: usize) -> (Arc<dyn App>, Owner) {
        let processes = &self.devices[device].processes;
        let process = &processes[self.step % processes.len()];
        (Arc::clone(&process.app), process.owner)
    }

    /// What a device has stored of a record.
    pub(crate) fn stored(&self, device: usize, key: &RecordKey) -> RecordState {
        let loading = self.shared.stores[device].load_records(std::slice::from_ref(key));
        let loaded = self.executor.alone(loading).and_then(Result::ok);
        loaded
            .and_then(|mut states| states.pop())
            .unwrap_or_else(|| RecordState::absent(key.clone()))
    }

    /// A call of the app during which nothing else happens.
    pub(crate) fn alone<F: Future>(&mut self, device: usize, future: F) -> Ended<F::Output> {
        let most = self.devices[device].drop_after.take();
        let mut context = Context::from_waker(Waker::noop());
        let mut future = Box::pin(future);
        for polls in 0..MOST_POLLS {
            if most.is_some_and(|most| polls >= most) {
                self.shared.struck(FaultKind::CallDropped);
                self.shared.seen(Branch::WriteDropped);
                return Ended::Unknown;
            }
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Ended::Answered(output);
            }
            if self.shared.any_doomed() {
                return Ended::Unknown;
            }
        }
        self.shared
            .violation(|| format!("device {device}: a call does not end"));
        Ended::Unknown
    }

    /// A call of the app that goes on beside everything else, to its end.
    pub(crate) fn until<T: Send + 'static>(
        &mut self,
        owner: Owner,
        limit: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<Ended<T>> {
        let slot: Arc<Mutex<Option<T>>> = Arc::default();
        let answer = Arc::clone(&slot);
        let taken = move || slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.executor.spawn(
            owner,
            Box::pin(async move {
                let output = future.await;
                *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(output);
            }),
        );
        let limit = self.executor.now() + limit;
        let mut output = None;
        while output.is_none() {
            let shared = Arc::clone(&self.shared);
            let enough = || {
                output = taken();
                output.is_some() || shared.any_doomed()
            };
            let ended = self.executor.run_until(limit, &mut self.dice, MOST_POLLS, enough);
            if self.shared.any_doomed() {
                self.bury()?;
            } else if !ended {
                break;
            }
        }
        Ok(output.map_or(Ended::Unknown, Ended::Answered))
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) -> Result<()> {
        let limit = self.executor.now() + time;
        loop {
            let shared = Arc::clone(&self.shared);
            let stopped = self
                .executor
                .run_until(limit, &mut self.dice, MOST_POLLS, || shared.any_doomed());
            if !stopped {
                if self.executor.now() < limit {
                    self.shared.violation(|| "tasks run without end".to_owned());
                }
                return Ok(());
            }
            self.bury()?;
        }
    }

    /// Gives the tasks so many turns, in no time.
    fn turns(&mut self, turns: u32) -> Result<()> {
        for _ in 0..turns {
            if !self.executor.step(&mut self.dice) {
                return Ok(());
            }
            if self.shared.any_doomed() {
                self.bury()?;
            }
        }
        Ok(())
    }

    /// Carries out the whole plan, and judges what comes of it.
    pub(crate) fn run(mut self) -> Result<Outcome> {
        for (number, step) in self.plan.steps.iter().enumerate() {
            self.step = number;
            let ordinal = number + 1;
            self.shared.note(format_args!("step {ordinal}: {:?}", step.act));
            self.operations += u64::from(step.act.is_operation());
            self.act(&step.act)?;
            self.bury()?;
            self.turns(step.turns)?;
            self.pass(Duration::from_micros(700))?;
            if !self.shared.ledger().violations().is_empty() {
                break;
            }
        }
        if self.shared.ledger().violations().is_empty() {
            self.come_to_rest()?;
        }
        for owner in 1..=self.owners {
            self.executor.kill(owner);
        }
        self.executor.kill(super::executor::NOBODY);
        let mut ledger = std::mem::replace(&mut *self.shared.ledger(), Ledger::new(false));
        let now = self.executor.now();
        ledger
            .log
            .event(now, format_args!("{} polls", self.executor.polls()));
        Ok(Outcome {
            violations: ledger.violations().to_vec(),
            hash: ledger.log.hash(),
            coverage: ledger.coverage.clone(),
            operations: self.operations,
            lines: ledger.log.into_lines(),
            truth: self.truth,
        })
    }
}
