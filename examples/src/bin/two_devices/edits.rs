//! What the users of both devices do while offline: edits, deletes, new records, and changes of the same records.

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use serde_json::Value;
use sync_core::{CachePolicy, JsonObject, Payload, ReadOptions, RecordId, Write};

use crate::{device::Device, failure::Failure, story::ProgressLine};

/// What one user did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) edited: u64,
    pub(crate) deleted: u64,
    pub(crate) created: u64,
}

impl Done {
    pub(crate) fn total(self) -> u64 {
        self.edited + self.deleted + self.created
    }
}

/// How many writes to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// By each device, on records that the other one leaves alone.
    pub(crate) edits: usize,
    /// Records that both change.
    pub(crate) conflicts: usize,
    pub(crate) seed: u64,
}

/// How two users come to disagree about a record.
#[derive(Clone, Copy, Debug)]
enum Quarrel {
    SameField,
    OtherField,
    EditAndDelete,
    SameNewId,
}

/// Both users at work, in turns drawn at random.
struct Users<'d> {
    devices: &'d [Device; 2],
    id_field: &'d str,
    random: SmallRng,
    done: [Done; 2],
    /// Records that only this device changes.
    own: [Vec<RecordId>; 2],
    /// Records that both change.
    shared: Vec<RecordId>,
    new_records: u64,
}

/// Makes the writes of a plan, and returns what each device did. If there are fewer records than the plan is
/// about, records are edited more than once, and fewer are quarrelled about.
pub(crate) async fn edit(
    devices: &[Device; 2],
    mut ids: Vec<RecordId>,
    id_field: &str,
    plan: Plan,
    progress: &mut ProgressLine,
) -> Result<[Done; 2], Failure> {
    let mut random = SmallRng::seed_from_u64(plan.seed);
    ids.shuffle(&mut random);
    let shared = ids.split_off(ids.len() - plan.conflicts.min(ids.len() / 2));
    let own_b = ids.split_off(ids.len() / 2);
    let mut left = [plan.edits, plan.edits, shared.len()];
    let mut users = Users {
        devices,
        id_field,
        random,
        done: [Done::default(); 2],
        own: [ids, own_b],
        shared,
        new_records: 0,
    };
    loop {
        let all: usize = left.iter().sum();
        if all == 0 {
            return Ok(users.done);
        }
        let drawn = users.random.random_range(0..all);
        if drawn < left[0] {
            left[0] -= 1;
            users.work_alone(0).await?;
        } else if drawn < left[0] + left[1] {
            left[1] -= 1;
            users.work_alone(1).await?;
        } else {
            left[2] -= 1;
            users.quarrel().await?;
        }
        progress.at(users.done.iter().map(|done| done.total()).sum());
    }
}

impl Users<'_> {
    /// One write on a record of one's own: seven of ten are edits.
    async fn work_alone(&mut self, who: usize) -> Result<(), Failure> {
        let chance = self.random.random_range(0..100);
        if self.own[who].is_empty() || chance < 15 {
            let id = self.new_id()?;
            return self.create(who, &id).await;
        }
        let place = self.random.random_range(0..self.own[who].len());
        if chance < 30 {
            let id = self.own[who].swap_remove(place);
            return self.delete(who, &id).await;
        }
        let id = self.own[who][place].clone();
        let field = self.random.random_range(0..usize::MAX);
        self.edit(who, &id, field).await
    }

    /// Two writes on one record, by either device first.
    async fn quarrel(&mut self) -> Result<(), Failure> {
        let Some(id) = self.shared.pop() else {
            return Ok(());
        };
        let first = self.random.random_range(0..2);
        let second = 1 - first;
        let field = self.random.random_range(0..usize::MAX - 1);
        let quarrel = match self.random.random_range(0..100) {
            0..45 => Quarrel::SameField,
            45..70 => Quarrel::OtherField,
            70..90 => Quarrel::EditAndDelete,
            _ => Quarrel::SameNewId,
        };
        match quarrel {
            Quarrel::SameField => {
                self.edit(first, &id, field).await?;
                self.edit(second, &id, field).await
            }
            Quarrel::OtherField => {
                self.edit(first, &id, field).await?;
                self.edit(second, &id, field + 1).await
            }
            Quarrel::EditAndDelete if self.random.random_bool(0.5) => {
                self.edit(first, &id, field).await?;
                self.delete(second, &id).await
            }
            Quarrel::EditAndDelete => {
                self.delete(first, &id).await?;
                self.edit(second, &id, field).await
            }
            Quarrel::SameNewId => {
                let id = self.new_id()?;
                self.create(first, &id).await?;
                self.create(second, &id).await
            }
        }
    }

    /// An id that no record has: the ids of the input are not made like this, or the write would be refused.
    fn new_id(&mut self) -> Result<RecordId, Failure> {
        self.new_records += 1;
        Ok(RecordId::new(format!("two-devices-new-{}", self.new_records))?)
    }

    async fn create(&mut self, who: usize, id: &RecordId) -> Result<(), Failure> {
        let device = &self.devices[who];
        let mut fields = JsonObject::new();
        fields.insert(self.id_field.to_owned(), id.as_str().into());
        fields.insert("note".to_owned(), format!("new on device {}", device.name).into());
        fields.insert(
            "number".to_owned(),
            self.random.random_range(0..1_000_000_i64).into(),
        );
        let write = Write::create_raw(device.key(id), Payload::from_object(&fields));
        device.engine.write(write).await?;
        self.done[who].created += 1;
        Ok(())
    }

    async fn delete(&mut self, who: usize, id: &RecordId) -> Result<(), Failure> {
        let device = &self.devices[who];
        device.engine.write(Write::delete_raw(device.key(id))).await?;
        self.done[who].deleted += 1;
        Ok(())
    }

    /// Reads the record, changes the field at `place` (counted around), and writes it back.
    async fn edit(&mut self, who: usize, id: &RecordId, place: usize) -> Result<(), Failure> {
        let device = &self.devices[who];
        let key = device.key(id);
        let answer = device
            .engine
            .get(&key, &ReadOptions::from(CachePolicy::OfflineOnly))
            .await?;
        let Some(record) = answer.records.first() else {
            return Ok(());
        };
        let mut fields = record.payload.to_object()?;
        let editable: Vec<_> = fields
            .keys()
            .filter(|name| *name != self.id_field)
            .cloned()
            .collect();
        let name = match editable.len() {
            0 => "note".to_owned(),
            count => editable[place % count].clone(),
        };
        let value = self.changed(fields.get(&name), device.name);
        fields.insert(name, value);
        device
            .engine
            .write(Write::update_raw(key, Payload::from_object(&fields)))
            .await?;
        self.done[who].edited += 1;
        Ok(())
    }

    /// Another value of the same type, where there is one.
    fn changed(&mut self, value: Option<&Value>, device: &str) -> Value {
        let number = self.random.random_range(0..1_000_000_i64);
        match value {
            Some(Value::Bool(value)) => (!value).into(),
            Some(Value::Number(_)) => number.into(),
            Some(Value::String(text)) => {
                // An earlier mark is replaced, so that texts do not grow with every edit.
                let text = text.split(" [device ").next().unwrap_or_default();
                format!("{text} [device {device}, {number}]").into()
            }
            _ => format!("[device {device}, {number}]").into(),
        }
    }
}
