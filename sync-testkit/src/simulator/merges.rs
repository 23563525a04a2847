//! Where conflicts are merged by fields, what nobody disputed is not lost.
//!
//! Which value a field ends with when two devices change it at once, the simulation does not know. But if every write that
//! changed a field was made by someone who saw the value of the write before, nobody disputed it, whatever happened to the
//! other fields meanwhile: it ends with the value of the last of them.

use serde_json::Value;
use sync_core::{JsonObject, Payload, Target};

use super::{coverage::Branch, ledger::Committed, plan::Decider, rest::Records, world::World};

/// Fields of which no two writes have the same value.
const TELLING: [&str; 2] = ["x", "y"];

/// The last of the writes that changed a field which nobody disputed.
#[derive(Debug)]
struct Last {
    device: usize,
    value: Option<Value>,
}

impl World<'_> {
    /// Every field that nobody disputed has its last value.
    pub(super) fn check_merges(&self, target: &Target, truth: &Records) {
        let can = self.devices[0].connection.capabilities();
        // Elsewhere nobody can tell whether a write took effect whose answer was lost, and what others did after it.
        let known = can.conditional_write && can.stamps && can.idempotent_push;
        let merges = self.plan.settings.decider == Decider::FieldMerge;
        let mut ledger = self.shared.ledger();
        // What clocks show decides disputes alone.
        let changed_by_others = ledger.restores > 0 || ledger.upgraded || self.plan.settings.server_changes;
        if !merges || !known || changed_by_others {
            return;
        }
        let (mut wrong, mut kept_both) = (Vec::new(), 0);
        for (key, history) in ledger.history.iter().filter(|(key, _)| key.target == *target) {
            if ledger.inexact.contains(key) || history.iter().any(|write| write.record.is_none()) {
                continue;
            }
            let there = fields(truth.get(&key.id));
            let lasts = TELLING.map(|field| last_of(history, field));
            for (field, last) in TELLING.iter().zip(&lasts) {
                if last
                    .as_ref()
                    .is_some_and(|last| last.value.as_ref() != there.get(*field))
                {
                    wrong.push(format!(
                        "{key} ends as {there:?}, and nobody disputed the last value of {field} in {history:#?}"
                    ));
                }
            }
            let [x, y] = &lasts;
            let both = x.as_ref().zip(y.as_ref());
            kept_both += u64::from(both.is_some_and(|(x, y)| x.device != y.device));
        }
        if kept_both > 0 {
            ledger.coverage.branch(Branch::FieldsKept);
        }
        drop(ledger);
        for what in wrong {
            self.shared.violation(|| what);
        }
    }
}

/// The last write that changed a field, if each was made by someone who saw the one before.
fn last_of(history: &[Committed], field: &str) -> Option<Last> {
    let mut last: Option<Last> = None;
    for write in history {
        let value = |record: &Option<Payload>| fields(record.as_ref()).remove(field);
        let (seen, wrote) = (value(&write.made_on), value(&write.record));
        if seen == wrote {
            continue;
        }
        if last.as_ref().is_some_and(|last| last.value != seen) {
            return None;
        }
        last = Some(Last {
            device: write.device,
            value: wrote,
        });
    }
    last
}

fn fields(record: Option<&Payload>) -> JsonObject {
    record
        .and_then(|record| record.to_object().ok())
        .unwrap_or_default()
}
