//! The processes of a device: an engine or a naive client, with its store and its network.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use sync_core::{BackgroundOptions, BackgroundSync, EngineOptions, Result, SyncEngine};

use super::{
    app::App,
    disk::Disk,
    doubles::Client,
    effects::process_effects,
    executor::Owner,
    held::HeldLimits,
    naive_app::{NaiveApp, SimulatedGround},
    network::Network,
    plan::Decider,
    records::{WatchedResolver, schema},
    watching::Watcher,
    world::{INTERVAL, World},
};
use crate::naive::{
    ClientMistake,
    client::{Ground, Limits, NaiveClient},
};

/// The most operations that a naive client keeps which drops the oldest.
const MOST_QUEUED: usize = 3;

pub(crate) struct Process {
    pub(crate) owner: Owner,
    pub(crate) app: Arc<dyn App>,
    /// Dropped with the process.
    _drivers: Vec<BackgroundSync>,
    pub(crate) watcher: Option<Watcher>,
}

impl World<'_> {
    /// Starts a process on a device.
    pub(crate) fn open(&mut self, number: usize) -> Result<()> {
        self.owners += 1;
        let owner = self.owners;
        let device = &self.devices[number];
        // Opening itself is not disturbed: an app that cannot open tries again.
        let disk = Disk {
            store: self.shared.stores[number].reopen(),
            shared: Arc::clone(&self.shared),
            device: number,
            owner,
        };
        let network = Network {
            remote: (self.doubles.remote)(Arc::clone(&device.connection)),
            shared: Arc::clone(&self.shared),
            device: number,
            owner,
            push_batch: device.settings.push_batch as usize,
            held_limits: HeldLimits {
                commit_rows: device.settings.commit_rows,
                page: device.settings.page_size as usize,
            },
            related: !self.plan.settings.unrelated,
        };
        let process = match self.doubles.client {
            Client::Engine => self.engine_process(number, owner, disk, network)?,
            Client::Naive(mistake) => self.naive_process(number, owner, mistake, disk, network),
        };
        self.devices[number].processes.push(process);
        Ok(())
    }

    fn engine_process(&self, number: usize, owner: Owner, disk: Disk, network: Network) -> Result<Process> {
        let device = &self.devices[number];
        let related = network.related;
        let options = EngineOptions::default()
            .with_page_size(device.settings.page_size)
            .with_commit_rows(device.settings.commit_rows)
            .with_push_batch(device.settings.push_batch)
            .with_sweep_interval(Duration::from_secs(device.settings.sweep_seconds));
        let effects = process_effects(
            &self.executor,
            owner,
            self.plan.seed,
            &device.clock,
            &device.connectivity,
        );
        let resolver = WatchedResolver::new(self.plan.settings.decider, &self.shared);
        let building = SyncEngine::builder((self.doubles.store)(Arc::new(disk)), Arc::new(network))
            .register_schema(schema("lists", device.schema_version, related)?, resolver.clone())
            .register_schema(schema("items", device.schema_version, related)?, resolver)
            .options(options)
            .effects(effects)
            .build();
        let engine = self.executor.alone(building).unwrap_or_else(|| {
            let message = "building an engine waits for something";
            Err(sync_core::SyncError::new(sync_core::ErrorKind::Internal, message))
        })?;
        let mut drivers = Vec::new();
        if self.plan.settings.background {
            for scope in &self.names.scopes {
                let options = BackgroundOptions::default().with_interval(INTERVAL);
                drivers.push(engine.start_background(scope, options)?);
            }
        }
        let watched = self.plan.seed.is_multiple_of(4);
        let watcher = watched.then(|| {
            Watcher::start(
                &engine,
                &self.names.target(0, false),
                &self.executor,
                owner,
                &self.shared,
            )
        });
        Ok(Process {
            owner,
            app: Arc::new(engine),
            _drivers: drivers,
            watcher,
        })
    }

    fn naive_process(
        &self,
        number: usize,
        owner: Owner,
        mistake: Option<ClientMistake>,
        disk: Disk,
        network: Network,
    ) -> Process {
        let device = &self.devices[number];
        let limits = Limits {
            page: device.settings.page_size,
            batch: network.push_batch,
            queue: MOST_QUEUED,
        };
        let found = device.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ground = Arc::new(SimulatedGround::new(disk, device.clock.clone(), &found));
        let client = NaiveClient::new(
            mistake,
            Arc::new(network),
            Arc::clone(&ground) as Arc<dyn Ground>,
            self.names.collections(),
            number as u64 + 1,
            limits,
            Arc::clone(&device.kept),
        )
        .merging_fields(self.plan.settings.decider == Decider::FieldMerge);
        client.restart();
        Process {
            owner,
            app: Arc::new(NaiveApp {
                client,
                ground,
                evicted: self.names.scope(0).clone(),
                turn: futures::lock::Mutex::new(()),
            }),
            _drivers: Vec::new(),
            watcher: None,
        }
    }
}
