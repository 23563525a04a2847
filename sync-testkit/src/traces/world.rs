//! Everyone who takes part in one trace.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sync_core::Result;

use super::{
    device::{Around, Device},
    report::Failure,
    server::Server,
    stores::{StoreHouse, StoreKind},
    subject::Subject,
    time::WorldTime,
    vocabulary::{Action, Actor, Config, DEFAULT_SCOPE, Expectation, Step, Trace},
};

/// The server, the clients, the time, and what was found to be wrong.
#[derive(Debug)]
pub(super) struct World {
    pub(super) time: WorldTime,
    pub(super) server: Server,
    pub(super) config: Config,
    /// By name.
    pub(super) devices: BTreeMap<String, Arc<Device>>,
    /// The scopes that the trace names.
    pub(super) scope_names: BTreeSet<String>,
    /// Whether push requests are counted from 0.
    pub(super) counts_requests_from_zero: bool,
    failures: Mutex<Vec<Failure>>,
    _house: StoreHouse,
}

impl World {
    pub(super) async fn new(trace: &Trace, kind: StoreKind, subject: Subject) -> Result<Self> {
        let time = WorldTime::for_trace(trace);
        let server = Server::new(&time, &trace.config, subject);
        let house = StoreHouse::new(kind)?;
        let mut devices = BTreeMap::new();
        for (number, name) in clients(trace).into_iter().enumerate() {
            let opener = house.opener(number);
            let around = Around {
                server: &server,
                time: &time,
                config: &trace.config,
                subject,
            };
            let device = Device::new(&name, number as u64, around, opener).await?;
            devices.insert(name, Arc::new(device));
        }
        let mut scope_names = BTreeSet::from([DEFAULT_SCOPE.to_owned()]);
        collect(&trace.steps, &mut |step| {
            scope_names.extend(step.scope.clone());
            if let Action::Move(_, to) = &step.action {
                scope_names.insert(to.clone());
            }
        });
        let mut from_zero = false;
        collect(&trace.steps, &mut |step| {
            from_zero |= matches!(step.action, Action::Redeliver(0));
        });
        Ok(Self {
            time,
            server,
            config: trace.config.clone(),
            devices,
            scope_names,
            counts_requests_from_zero: from_zero,
            failures: Mutex::default(),
            _house: house,
        })
    }

    fn failures(&self) -> MutexGuard<'_, Vec<Failure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fail(&self, step: &str, expected: impl Into<String>, got: impl Into<String>) {
        self.failures().push(Failure {
            step: step.to_owned(),
            expected: expected.into(),
            got: got.into(),
        });
    }

    pub(super) fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut *self.failures())
    }

    /// The scope and the id that a name in an expectation stands for: `id`, or `@scope/id`.
    pub(super) fn address(&self, name: &str) -> (String, String) {
        let scoped = name.strip_prefix('@').and_then(|rest| rest.split_once('/'));
        match scoped.filter(|(scope, _)| self.scope_names.contains(*scope)) {
            Some((scope, id)) => (scope.to_owned(), id.to_owned()),
            None => (DEFAULT_SCOPE.to_owned(), name.to_owned()),
        }
    }
}

/// Every step, nested ones included.
fn collect(steps: &[Step], each: &mut impl FnMut(&Step)) {
    for step in steps {
        each(step);
        for nested in [&step.during_push, &step.during_pull, &step.between_pages] {
            collect(nested, each);
        }
    }
}

/// The clients of a trace, those that push first before the others.
fn clients(trace: &Trace) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut add = |name: &String| {
        if !order.contains(name) {
            order.push(name.clone());
        }
    };
    collect(&trace.steps, &mut |step| {
        let pushes = matches!(
            step.action,
            Action::Sync | Action::Push | Action::FullResync | Action::SyncParallel(_)
        ) || step.require_remote;
        if let (Actor::Client(name), true) = (&step.actor, pushes) {
            add(name);
        }
    });
    collect(&trace.steps, &mut |step| {
        if let Actor::Client(name) = &step.actor {
            add(name);
        }
    });
    for expectation in &trace.expect {
        if let Expectation::Client(name, _) = expectation {
            add(name);
        }
    }
    order
}
