//! What users and others write, and what must come of it.

use std::time::Duration;

use futures::channel::oneshot;
use sync_core::{ErrorKind, Payload, RecordKey, RecordState, Result, SyncError};

use super::{
    app::Wish,
    coverage::Branch,
    generate::own_field,
    plan::Place,
    records::changed,
    world::{Ended, World},
};

impl World<'_> {
    fn next_write(&mut self) -> u64 {
        self.writes += 1;
        self.writes
    }

    /// The record with some changed fields; an item names a list that is there.
    pub(crate) fn compose(
        &mut self,
        key: &RecordKey,
        view: Option<&Payload>,
        fields: u8,
        device: Option<usize>,
    ) -> Payload {
        let number = self.next_write();
        let list = format!("l{}", number % 2);
        let there = device.is_some_and(|device| {
            let scope = self.names.scopes.iter().position(|scope| scope == key.scope());
            let place = Place {
                scope: scope.unwrap_or(0),
                list: true,
                id: usize::from(number % 2 == 1),
            };
            let is_item = key.target.collection.as_str() == "items";
            is_item
                && self
                    .names
                    .key(place)
                    .is_ok_and(|list| self.stored(device, &list).view.is_some())
        });
        changed(key, view, fields, number, there.then_some(list.as_str()))
    }

    pub(super) fn put(&mut self, device: usize, place: Place, fields: u8, beside: bool) -> Result<()> {
        let key = self.names.key(place)?;
        let before = self.stored(device, &key);
        let payload = self.compose(&key, before.view.as_ref(), fields, Some(device));
        let wish = Wish {
            key: key.clone(),
            is_there: before.view.is_some(),
            payload: Some(payload.clone()),
        };
        let (app, owner) = self.app(device);
        self.shared.ledger().wants(device, &key, payload.as_str());
        if beside {
            let shared = std::sync::Arc::clone(&self.shared);
            // A change of nothing is the text that was there before.
            let known = shared.ledger().has_written(device, &key, payload.as_str());
            let (gate, opened) = oneshot::channel();
            self.shared.weather().devices[device].gates.push(gate);
            let patience = self.executor.sleep(Duration::from_millis(15));
            let writing = async move {
                // The other side of the gate only ever drops it.
                futures::future::select(opened, Box::pin(patience)).await;
                let written = app.write(vec![wish]).await;
                let there = shared.ledger().has_written(device, &key, payload.as_str());
                if written.is_ok() && !there {
                    shared.violation(|| {
                        format!("device {device}: {payload:?} of {key} is acknowledged, and was not written")
                    });
                }
                let its_own = shared.ledger().is_wanted_once(device, &key, payload.as_str());
                if written.is_err() && there && !known && its_own {
                    shared.violation(|| {
                        format!(
                            "device {device}: {payload:?} of {key} was written, and is answered {written:?}"
                        )
                    });
                }
            };
            self.executor.spawn(owner, Box::pin(writing));
            return Ok(());
        }
        let written = self.alone(device, async move { app.write(vec![wish]).await });
        self.judge_write(device, &before, Some(&payload), written);
        Ok(())
    }

    pub(super) fn delete(&mut self, device: usize, place: Place) -> Result<()> {
        let key = self.names.key(place)?;
        let before = self.stored(device, &key);
        if before.view.is_none() && before.revision == 0 {
            return Ok(());
        }
        let (app, _) = self.app(device);
        let wish = Wish {
            key,
            is_there: before.view.is_some(),
            payload: None,
        };
        let written = self.alone(device, async move { app.write(vec![wish]).await });
        self.judge_write(device, &before, None, written);
        Ok(())
    }

    /// A write that was acknowledged is there as it was written; one that failed left nothing behind.
    fn judge_write(
        &mut self,
        device: usize,
        before: &RecordState,
        payload: Option<&Payload>,
        written: Ended<Result<()>>,
    ) {
        let after = self.stored(device, &before.key);
        match written {
            Ended::Unknown => {}
            Ended::Answered(Ok(_)) => {
                let annuls = payload.is_none() && after.ops.len() < before.ops.len();
                let carried = after.ops.last().is_some_and(|op| op.payload.as_ref() == payload);
                if after.view.as_ref().map(Payload::as_str) != payload.map(Payload::as_str) && !annuls {
                    self.shared.violation(|| {
                        format!("device {device}: {payload:?} is acknowledged, and the store has {after:?}")
                    });
                } else if !carried && !annuls {
                    self.shared.violation(|| {
                        format!("device {device}: no operation carries {payload:?}: {after:?}")
                    });
                }
            }
            Ended::Answered(Err(error)) => {
                self.shared.seen(Branch::WriteFailed);
                if after != *before {
                    self.shared.violation(|| {
                        format!(
                            "device {device}: a write failed with {error}, and left {after:?} of {before:?}"
                        )
                    });
                }
                if !matches!(error.kind(), ErrorKind::Busy | ErrorKind::Full) {
                    self.shared.violation(|| {
                        format!("device {device}: a write of {before:?} was refused: {error:?}")
                    });
                }
            }
        }
    }

    pub(super) fn batch(&mut self, device: usize, scope: usize, id: usize) -> Result<()> {
        let list = Place {
            scope,
            list: true,
            id,
        };
        let item = |id| Place {
            scope,
            list: false,
            id,
        };
        let fields = match self.plan.settings.own_fields {
            true => own_field(device),
            false => u8::MAX,
        };
        let mut wishes = Vec::new();
        let mut before = Vec::new();
        for place in [list, item(id), item(id + 1)] {
            let key = self.names.key(place)?;
            let state = self.stored(device, &key);
            let number = self.next_write();
            let parent = (!place.list).then(|| format!("l{id}"));
            let payload = changed(&key, state.view.as_ref(), fields, number, parent.as_deref());
            self.shared.ledger().wants(device, &key, payload.as_str());
            wishes.push(Wish {
                key,
                is_there: state.view.is_some(),
                payload: Some(payload.clone()),
            });
            before.push((state, payload));
        }
        let (app, _) = self.app(device);
        let written = self.alone(device, async move { app.write(wishes).await });
        let failed = match written {
            Ended::Unknown => return Ok(()),
            Ended::Answered(Ok(_)) => None,
            Ended::Answered(Err(error)) => Some(error),
        };
        for (state, payload) in before {
            let ended = failed.clone().map_or(Ok(()), Err);
            self.judge_write(device, &state, Some(&payload), Ended::Answered(ended));
        }
        Ok(())
    }

    pub(super) fn reimport(&mut self, device: usize, scope: usize) -> Result<()> {
        let (app, _) = self.app(device);
        let scope = self.names.scope(scope).clone();
        let importing = async move { app.reimport(&scope).await };
        if let Ended::Answered(Ok(Some((lines, imported)))) = self.alone(device, importing) {
            let exported = lines.lines().count();
            let not_there = |error: &SyncError| error.kind() == ErrorKind::NotFound;
            let upgraded = self.shared.ledger().upgraded;
            let lost = imported
                .left_out
                .iter()
                .find(|(_, error)| !not_there(error) && !upgraded);
            if lost.is_some() || imported.written.len() + imported.left_out.len() != exported {
                self.shared.violation(|| {
                    format!("device {device}: of {exported} lines an import leaves out {lost:?}")
                });
            }
        }
        Ok(())
    }

    /// Someone else writes.
    pub(crate) fn foreign(&mut self, place: Place, put: bool) -> Result<()> {
        let key = self.names.key(place)?;
        let payload = put.then(|| self.compose(&key, None, u8::MAX, None));
        let number = self.writes;
        let backend = std::sync::Arc::clone(&self.shared.backend);
        let of = key.clone();
        let writing = async move { backend.write(&of, payload, number).await };
        let wrote = self.executor.alone(writing).unwrap_or(false);
        if wrote {
            self.touched_by_others(&key);
        }
        Ok(())
    }

    /// The outcome of a record no longer follows from what users wrote.
    pub(crate) fn touched_by_others(&mut self, key: &RecordKey) {
        let now = self.shared.backend.peek(key);
        let mut ledger = self.shared.ledger();
        ledger.inexact.insert(key.clone());
        if let Some(state) = now {
            ledger.tell(key, &state);
        }
    }
}
