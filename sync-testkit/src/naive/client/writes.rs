//! Local writes of a naive client.

use sync_core::{ErrorKind, JsonObject, OpKind, Payload, RecordKey, Result, Stamp, SyncError};

use super::{ClientMistake, Kept, Moment, NaiveClient, Op};

/// One record as the user wants it.
#[derive(Clone, Debug)]
pub(crate) struct NaiveWrite {
    pub(crate) key: RecordKey,
    pub(crate) kind: OpKind,
    pub(crate) payload: Option<Payload>,
}

impl NaiveClient {
    /// Writes records, and queues that.
    pub(crate) async fn write(&self, writes: &[NaiveWrite], in_bulk: bool) -> Result<()> {
        match self.ground.check_store().await {
            Err(_) if self.has(ClientMistake::IgnoresStoreErrors) => return Ok(()),
            other => other?,
        }
        for write in writes {
            self.check_fits(write)?;
        }
        if self.has(ClientMistake::SeparateOutboxWrite) {
            let mut kept = self.kept();
            kept.by_user = true;
            for write in writes {
                kept.rows.entry(write.key.clone()).or_default().view = write.payload.clone();
            }
        }
        self.ground.reach(Moment::MidApply).await;
        {
            let mut kept = self.kept();
            kept.by_user = true;
            for write in writes {
                self.write_one(&mut kept, write, in_bulk)?;
            }
        }
        self.ground.reach(Moment::AfterApply).await;
        Ok(())
    }

    /// What was to be made may have come meanwhile, and what was to be changed may be gone.
    fn check_fits(&self, write: &NaiveWrite) -> Result<()> {
        let kept = self.kept();
        let row = kept.rows.get(&write.key);
        let is_there = row.is_some_and(|row| row.view.is_some());
        match write.kind {
            OpKind::Create if is_there => Err(SyncError::invalid("id", "it is there already")),
            OpKind::Update if !is_there => Err(SyncError::new(ErrorKind::NotFound, "it is not there")),
            _ => Ok(()),
        }
    }

    fn write_one(&self, kept: &mut Kept, write: &NaiveWrite, in_bulk: bool) -> Result<()> {
        let NaiveWrite { key, kind, payload } = write;
        let stamp = self.next_stamp(kept)?;
        let untracked = self.has(ClientMistake::WritesDuringPullUntracked) && kept.pulling
            || self.has(ClientMistake::BulkWritesStayLocal) && in_bulk && *kind == OpKind::Update;
        kept.rows.entry(key.clone()).or_default().view = payload.clone();
        kept.stamp = Some(stamp);
        if !untracked {
            self.enqueue(kept, key, *kind, payload.clone(), stamp);
        }
        Ok(())
    }

    /// The write that makes, changes or deletes a record.
    ///
    /// # Errors
    /// If it is there already, or not there.
    pub(crate) fn compose(
        &self,
        key: RecordKey,
        kind: OpKind,
        fields: Option<&JsonObject>,
    ) -> Result<NaiveWrite> {
        let kept = self.kept();
        let row = kept.rows.get(&key);
        let there = row.and_then(|row| row.view.clone());
        let payload = match (kind, there, fields) {
            (OpKind::Create, None, Some(fields)) => Some(Payload::from_object(fields)),
            (OpKind::Create, Some(_), _) => return Err(SyncError::invalid("id", "it is there already")),
            (OpKind::Update, Some(record), Some(fields)) => {
                let mut record = record.to_object()?;
                record.extend(fields.clone());
                Some(Payload::from_object(&record))
            }
            (OpKind::Delete, Some(_), _) => None,
            (OpKind::Delete, None, _) if row.is_some() => None,
            _ => return Err(SyncError::new(ErrorKind::NotFound, "it is not there")),
        };
        Ok(NaiveWrite { key, kind, payload })
    }

    pub(super) fn next_stamp(&self, kept: &Kept) -> Result<Stamp> {
        let exact = self.ground.told_stamp();
        let millis = exact.unwrap_or_else(|| u64::try_from(self.ground.now().as_millis()).unwrap_or(0));
        let wall = Stamp::new(millis, 0, self.node);
        let as_it_is = exact.is_some()
            || self.has(ClientMistake::StampsAreTheWallClock)
            || self.has(ClientMistake::ClockBeatsCausality);
        match kept.stamp {
            Some(last) if wall <= last && self.has(ClientMistake::RefusesWhenClockIsBehind) => Err(
                SyncError::new(ErrorKind::Internal, "the clock is behind the last write"),
            ),
            Some(last) if wall <= last && !as_it_is => Ok(Stamp::new(
                last.millis(),
                last.counter().saturating_add(1),
                self.node,
            )),
            _ => Ok(wall),
        }
    }

    pub(super) fn enqueue(
        &self,
        kept: &mut Kept,
        key: &RecordKey,
        kind: OpKind,
        payload: Option<Payload>,
        stamp: Stamp,
    ) {
        let op_id = self.new_op_id(kept);
        let live_base = kept.rows.get(key).is_some_and(|row| row.base.is_live());
        let new = Op {
            op_id,
            place: kept.next_place(),
            key: key.clone(),
            kind,
            payload,
            stamp,
            attempts: 0,
            dead: None,
        };
        let separate = self.has(ClientMistake::NeverCoalesces)
            || self.has(ClientMistake::SendsAllOpsOfARecordAtOnce)
            || self.has(ClientMistake::RegroupsByKind)
            || self.has(ClientMistake::SortsByClock);
        let reuses = self.has(ClientMistake::ReusesIdForNewContent);
        let last = kept.ops.iter().rposition(|op| op.key == *key);
        let joined = last.filter(|place| {
            let op = &kept.ops[*place];
            !separate && (op.attempts == 0 || op.dead.is_some() || reuses)
        });
        let Some(place) = joined else {
            kept.ops.push(new);
            if self.has(ClientMistake::DropsTheOldest) && kept.ops.len() > self.limits.queue {
                kept.ops.remove(0);
            }
            return;
        };
        let alone = kept.ops.iter().filter(|op| op.key == *key).count() == 1;
        let op = &mut kept.ops[place];
        let kind = match (op.kind, new.kind) {
            (OpKind::Create, OpKind::Delete) if !live_base && op.attempts == 0 && alone => {
                kept.ops.remove(place);
                return;
            }
            (OpKind::Create, OpKind::Create | OpKind::Update) => OpKind::Create,
            (OpKind::Delete, OpKind::Create) if live_base => OpKind::Update,
            (_, kind) => kind,
        };
        let op_id = if reuses { op.op_id } else { new.op_id };
        *op = Op {
            op_id,
            kind,
            place: op.place,
            ..new
        };
    }
}
