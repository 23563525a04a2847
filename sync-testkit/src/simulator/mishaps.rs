//! How faults begin and end.

use std::time::Duration;

use sync_core::{RecordKey, Result};

use super::{backend::Operation, fault_kind::FaultKind, plan::Place, pokes, world::World};

impl World<'_> {
    /// A fault begins, or is set to strike at the next chance.
    pub(crate) fn fault(&mut self, kind: FaultKind, device: usize, place: Place, amount: u64) -> Result<()> {
        match kind {
            FaultKind::PokeLost | FaultKind::PokeDuplicated | FaultKind::PokeDelayed => {
                self.shared.weather().devices[device]
                    .pokes
                    .push_back((kind, amount));
            }
            FaultKind::StoreBusy | FaultKind::StoreFull | FaultKind::CrashAtStoreCall => {
                let calls = amount % 120;
                self.shared.weather().devices[device]
                    .store
                    .push_back((kind, calls));
            }
            FaultKind::Partition => self.shared.weather().devices[device].partitioned = true,
            FaultKind::RemoteDown => self.shared.weather().down = true,
            FaultKind::RemoteSlow => self.shared.weather().slow = true,
            FaultKind::CallDropped => self.devices[device].drop_after = Some(1 + amount % 12),
            FaultKind::SubscriptionCut => {
                let standing = std::mem::take(&mut self.shared.weather().subscriptions);
                if pokes::cut(standing) > 0 {
                    self.shared.struck(kind);
                }
            }
            FaultKind::WrongConnectivity => {
                self.devices[device].connectivity.set(false);
                self.shared.struck(kind);
            }
            FaultKind::ClientClockJump => self.jump(device, amount),
            FaultKind::ClientClockSkew | FaultKind::AccessGranted => {}
            FaultKind::Crash | FaultKind::SecondProcess | FaultKind::SchemaChange => {
                self.process_fault(kind, device, amount)?;
            }
            FaultKind::EqualTimes => {
                for id in 0..2 + usize::try_from(amount % 2).unwrap_or(0) {
                    self.foreign(Place { id, ..place }, true)?;
                }
                self.shared.struck(kind);
            }
            FaultKind::LateCommit
            | FaultKind::ServerClockJump
            | FaultKind::TokenExpired
            | FaultKind::BackupRestored
            | FaultKind::NewEpoch
            | FaultKind::TombstonesCollected
            | FaultKind::AccessRevoked
            | FaultKind::PoisonRecord
            | FaultKind::MalformedRow
            | FaultKind::VanishedRow => self.backend_fault(kind, device, place, amount)?,
            _ => self.shared.weather().devices[device]
                .requests
                .push_back((kind, amount)),
        }
        Ok(())
    }

    fn jump(&mut self, device: usize, amount: u64) {
        const MOST: u64 = 1_200_000;
        let millis = (amount % (2 * MOST)).cast_signed() - MOST.cast_signed();
        self.devices[device].clock.jump(millis * 1_000);
        self.shared.weather().devices[device].clock_jumped = true;
        // It may be further ahead of the others now than a clock accepts.
        self.shared.ledger().all_inexact = true;
        self.shared.struck(FaultKind::ClientClockJump);
    }

    fn process_fault(&mut self, kind: FaultKind, device: usize, amount: u64) -> Result<()> {
        let owners: Vec<_> = self.devices[device]
            .processes
            .iter()
            .map(|process| process.owner)
            .collect();
        match kind {
            FaultKind::SecondProcess if owners.len() > 1 => self.kill(device, owners[1]),
            FaultKind::SecondProcess => {
                self.open(device)?;
                self.shared.struck(kind);
            }
            FaultKind::SchemaChange => {
                let pending = self.pending(device);
                for owner in owners {
                    self.kill(device, owner);
                }
                if self.devices[device].schema_version == 1 {
                    self.devices[device].schema_version = 2;
                    let mut ledger = self.shared.ledger();
                    ledger.upgraded = true;
                    ledger.all_inexact = true;
                    if pending > 0 {
                        ledger.coverage.fault(kind);
                    }
                }
                self.open(device)?;
            }
            _ => {
                let owner = owners[usize::try_from(amount).unwrap_or(0) % owners.len()];
                self.kill(device, owner);
                self.open(device)?;
                self.shared.struck(kind);
            }
        }
        Ok(())
    }

    fn backend_fault(&mut self, kind: FaultKind, device: usize, place: Place, amount: u64) -> Result<()> {
        let key = self.names.key(place)?;
        let scope = self.names.scope(place.scope).clone();
        let signed = |most: u64| (amount % (2 * most)).cast_signed() - most.cast_signed();
        let payload = |world: &mut Self| world.compose(&key, None, u8::MAX, None);
        let operation = match kind {
            FaultKind::LateCommit => {
                let payload = (!amount.is_multiple_of(4)).then(|| payload(self));
                Operation::BeginLateCommit(key.clone(), payload)
            }
            FaultKind::ServerClockJump => Operation::MoveClock(signed(120_000_000)),
            FaultKind::TokenExpired => Operation::ExpireSignIn(device),
            FaultKind::BackupRestored if amount.is_multiple_of(3) => Operation::TakeBackup,
            FaultKind::BackupRestored => Operation::RestoreBackup,
            FaultKind::NewEpoch => Operation::NewEpoch,
            FaultKind::TombstonesCollected => Operation::CollectTombstones,
            FaultKind::AccessRevoked => {
                let mut ledger = self.shared.ledger();
                ledger.revoked.insert(scope.key().as_str().to_owned());
                Operation::Revoke(scope)
            }
            FaultKind::PoisonRecord => Operation::Refuse(vec![key.clone()]),
            FaultKind::MalformedRow => {
                let number = amount % 1_000;
                let id = (!number.is_multiple_of(5)).then(|| key.id.clone());
                if id.is_some() {
                    self.malformed.push(place);
                    self.broken.insert(key.clone());
                }
                Operation::PutMalformed(key.target.clone(), id, format!("{{\"broken\":{number}"))
            }
            _ => Operation::Vanish(key.clone()),
        };
        let restores = matches!(operation, Operation::RestoreBackup);
        let only_saves = matches!(operation, Operation::TakeBackup);
        if !self.shared.backend.operate(operation) || only_saves {
            return Ok(());
        }
        match kind {
            // These strike when a request meets them.
            FaultKind::TokenExpired | FaultKind::AccessRevoked | FaultKind::PoisonRecord => {}
            _ => self.shared.struck(kind),
        }
        self.touched(kind, &key, restores);
        Ok(())
    }

    /// Which records no longer end as their users' writes alone would have it.
    fn touched(&mut self, kind: FaultKind, key: &RecordKey, restores: bool) {
        let mut ledger = self.shared.ledger();
        match kind {
            FaultKind::TombstonesCollected | FaultKind::BackupRestored => ledger.all_inexact = true,
            FaultKind::LateCommit | FaultKind::MalformedRow | FaultKind::VanishedRow => {
                ledger.inexact.insert(key.clone());
            }
            _ => {}
        }
        if restores {
            ledger.restores += 1;
            ledger.took_effect.clear();
        }
    }

    /// A lasting fault ends.
    pub(crate) fn end(&mut self, kind: FaultKind, device: usize, place: Place) -> Result<()> {
        let backend = std::sync::Arc::clone(&self.shared.backend);
        match kind {
            FaultKind::Partition => self.shared.weather().devices[device].partitioned = false,
            FaultKind::RemoteDown => self.shared.weather().down = false,
            FaultKind::RemoteSlow => self.shared.weather().slow = false,
            FaultKind::WrongConnectivity => self.devices[device].connectivity.set(true),
            FaultKind::TokenExpired => {
                backend.operate(Operation::SignIn(device));
            }
            FaultKind::AccessRevoked => {
                let scope = self.names.scope(place.scope).clone();
                let granted = backend.operate(Operation::Grant(scope));
                granted.then(|| self.shared.struck(FaultKind::AccessGranted));
            }
            FaultKind::PoisonRecord => {
                backend.operate(Operation::Refuse(Vec::new()));
            }
            FaultKind::LateCommit => self.finish_late_commits()?,
            _ => {}
        }
        Ok(())
    }

    fn finish_late_commits(&mut self) -> Result<()> {
        if self.shared.backend.operate(Operation::FinishLateCommits) {
            for place in self.all_places() {
                let key = self.names.key(place)?;
                if let Some(state) = self.shared.backend.peek(&key) {
                    self.shared.ledger().tell(&key, &state);
                }
            }
        }
        Ok(())
    }

    /// Every fault ends.
    pub(crate) fn heal(&mut self) -> Result<()> {
        {
            let mut weather = self.shared.weather();
            weather.down = false;
            weather.slow = false;
            for device in &mut weather.devices {
                device.partitioned = false;
                device.requests.clear();
                device.pokes.clear();
                device.store.clear();
            }
        }
        let backend = std::sync::Arc::clone(&self.shared.backend);
        for (number, device) in self.devices.iter_mut().enumerate() {
            device.connectivity.set(true);
            device.drop_after = None;
            backend.operate(Operation::SignIn(number));
        }
        for scope in &self.names.scopes {
            backend.operate(Operation::Grant(scope.clone()));
        }
        backend.operate(Operation::Refuse(Vec::new()));
        self.finish_late_commits()?;
        // What was sent long ago arrives.
        self.pass(Duration::from_secs(150))
    }
}
