//! Local writes of a naive client.

use sync_core::{Clock, ErrorKind, OpKind, RecordKey, Result, Stamp, SyncError};

use super::{ClientMistake, Kept, NaiveClient, Op};
use crate::traces::{script::Point, vocabulary::Fields};

/// The most operations that a client which drops the oldest keeps.
const MOST: usize = 100;

impl NaiveClient {
    /// Writes a record (`None` deletes it), and queues that.
    pub(in crate::traces) async fn write(
        &self,
        key: &RecordKey,
        kind: OpKind,
        fields: Option<&Fields>,
        in_bulk: bool,
    ) -> Result<()> {
        match self.check_store() {
            Err(_) if self.has(ClientMistake::IgnoresStoreErrors) => return Ok(()),
            other => other?,
        }
        let payload = self.payload(key, kind, fields)?;
        let stamp = self.next_stamp()?;
        if self.has(ClientMistake::SeparateOutboxWrite) {
            self.kept().rows.entry(key.clone()).or_default().view = payload.clone();
        }
        self.script.reach(Point::MidApply).await;
        {
            let kept = &mut *self.kept();
            let untracked = self.has(ClientMistake::WritesDuringPullUntracked) && kept.pulling
                || self.has(ClientMistake::BulkWritesStayLocal) && in_bulk && kind == OpKind::Update;
            kept.rows.entry(key.clone()).or_default().view = payload.clone();
            kept.stamp = Some(stamp);
            if !untracked {
                self.enqueue(kept, key, kind, payload, stamp);
            }
        }
        self.script.reach(Point::AfterApply).await;
        Ok(())
    }

    /// The record after the write.
    fn payload(&self, key: &RecordKey, kind: OpKind, fields: Option<&Fields>) -> Result<Option<Fields>> {
        let kept = self.kept();
        let row = kept.rows.get(key);
        let there = row.and_then(|row| row.view.clone());
        match (kind, there, fields) {
            (OpKind::Create, None, Some(fields)) => Ok(Some(fields.clone())),
            (OpKind::Create, Some(_), _) => Err(SyncError::invalid("id", "it is there already")),
            (OpKind::Update, Some(mut record), Some(fields)) => {
                record.extend(fields.clone());
                Ok(Some(record))
            }
            (OpKind::Delete, Some(_), _) => Ok(None),
            (OpKind::Delete, None, _) if row.is_some() => Ok(None),
            _ => Err(SyncError::new(ErrorKind::NotFound, "it is not there")),
        }
    }

    fn next_stamp(&self) -> Result<Stamp> {
        let kept = self.kept();
        let exact = self.script.exact_stamp();
        let millis = exact.unwrap_or_else(|| u64::try_from(self.clock.now().as_millis()).unwrap_or(0));
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
        payload: Option<Fields>,
        stamp: Stamp,
    ) {
        let op_id = self.new_op_id(kept);
        let live_base = kept.rows.get(key).is_some_and(|row| row.base.is_live());
        let new = Op {
            op_id,
            key: key.clone(),
            kind,
            payload,
            stamp,
            attempts: 0,
            dead: false,
        };
        let separate = self.has(ClientMistake::NeverCoalesces)
            || self.has(ClientMistake::SendsAllOpsOfARecordAtOnce)
            || self.has(ClientMistake::RegroupsByKind)
            || self.has(ClientMistake::SortsByClock);
        let reuses = self.has(ClientMistake::ReusesIdForNewContent);
        let last = kept.ops.iter().rposition(|op| op.key == *key);
        let joined = last.filter(|place| {
            let op = &kept.ops[*place];
            !separate && (op.attempts == 0 || op.dead || reuses)
        });
        let Some(place) = joined else {
            kept.ops.push(new);
            if self.has(ClientMistake::DropsTheOldest) && kept.ops.len() > MOST {
                kept.ops.remove(0);
            }
            return;
        };
        let op = &mut kept.ops[place];
        let kind = match (op.kind, new.kind) {
            (OpKind::Create, OpKind::Delete) if !live_base && op.attempts == 0 => {
                kept.ops.remove(place);
                return;
            }
            (OpKind::Create, _) => OpKind::Create,
            (OpKind::Delete, OpKind::Create) if live_base => OpKind::Update,
            (_, kind) => kind,
        };
        let op_id = if reuses { op.op_id } else { new.op_id };
        *op = Op { op_id, kind, ..new };
    }
}
