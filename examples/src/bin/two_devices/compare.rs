//! Whether both devices and the remote hold the same, compared in full: every id and the content of every record.

use std::{cmp::Ordering, collections::VecDeque};

use sync_core::{LocalRecord, RecordId, RemoteStore, query::QuerySpec};

use crate::{device::Device, failure::Failure};

/// How many records are in memory of each side.
const PAGE: usize = 1_000;

/// What the comparison found.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Records of the first device.
    pub(crate) rows: u64,
    /// Records of the remote.
    pub(crate) remote_rows: u64,
    /// Records that are not the same on all three.
    pub(crate) differences: u64,
    /// The first of them.
    pub(crate) example: Option<String>,
}

impl Comparison {
    pub(crate) fn is_equal(&self) -> bool {
        self.differences == 0
    }

    fn differs(&mut self, id: &RecordId, how: &str) {
        self.differences += 1;
        self.example.get_or_insert_with(|| format!("record {id} {how}"));
    }
}

/// Goes through both devices and the remote, page by page in the order of ids.
pub(crate) async fn compare(devices: &[Device; 2], remote: &dyn RemoteStore) -> Result<Comparison, Failure> {
    let mut found = Comparison::default();
    let mut a = Pages::new(&devices[0]);
    let mut b = Pages::new(&devices[1]);
    let mut unchecked = Vec::with_capacity(PAGE);
    loop {
        let order = match (a.peek().await?, b.peek().await?) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.id.cmp(&b.id),
        };
        let on_a = if order.is_le() { a.take() } else { None };
        let on_b = if order.is_ge() { b.take() } else { None };
        match (&on_a, &on_b) {
            (Some(a), Some(b)) if !a.payload.same_content(&b.payload) => {
                found.differs(&a.id, "is not the same on both devices");
            }
            (Some(only), None) => found.differs(&only.id, "is missing on device B"),
            (None, Some(only)) => found.differs(&only.id, "is missing on device A"),
            _ => {}
        }
        if let Some(record) = on_a {
            found.rows += 1;
            unchecked.push(record);
        }
        if unchecked.len() == PAGE {
            with_remote(&mut found, &devices[0], remote, &mut unchecked).await?;
        }
    }
    with_remote(&mut found, &devices[0], remote, &mut unchecked).await?;
    let at_remote = count_at_remote(&devices[0], remote).await?;
    found.remote_rows = at_remote;
    if at_remote != found.rows {
        found.differences += at_remote.abs_diff(found.rows);
        found
            .example
            .get_or_insert_with(|| format!("the remote has {at_remote} records, device A {}", found.rows));
    }
    Ok(found)
}

/// Compares records of a device with the remote's, and empties the list.
async fn with_remote(
    found: &mut Comparison,
    device: &Device,
    remote: &dyn RemoteStore,
    records: &mut Vec<LocalRecord>,
) -> Result<(), Failure> {
    let ids: Vec<_> = records.iter().map(|record| record.id.clone()).collect();
    let states = remote.get(&device.target, &ids).await?;
    for (record, state) in records.drain(..).zip(states) {
        if !state
            .payload()
            .is_some_and(|payload| payload.same_content(&record.payload))
        {
            found.differs(&record.id, "is not the same at the remote");
        }
    }
    Ok(())
}

async fn count_at_remote(device: &Device, remote: &dyn RemoteStore) -> Result<u64, Failure> {
    let (mut count, mut after) = (0, None::<String>);
    loop {
        let page = remote
            .list_ids(&device.target, after.as_deref(), PAGE as u32)
            .await?;
        count += page.ids.len() as u64;
        after = page.next;
        if after.is_none() {
            return Ok(count);
        }
    }
}

/// The records of a device, one page of them in memory.
struct Pages<'d> {
    device: &'d Device,
    /// The query for the next page; `None` after the last one.
    next: Option<QuerySpec>,
    page: VecDeque<LocalRecord>,
}

impl<'d> Pages<'d> {
    fn new(device: &'d Device) -> Self {
        Self {
            device,
            next: Some(QuerySpec::new().limit(PAGE as u64)),
            page: VecDeque::new(),
        }
    }

    async fn peek(&mut self) -> Result<Option<&LocalRecord>, Failure> {
        if self.page.is_empty()
            && let Some(spec) = self.next.take()
        {
            self.page = self.device.read_offline(&spec).await?.records.into();
            if let Some(last) = self.page.back() {
                let position = spec.keyset_after(&last.id, &last.payload)?;
                self.next = Some(spec.after(position));
            }
        }
        Ok(self.page.front())
    }

    fn take(&mut self) -> Option<LocalRecord> {
        self.page.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use adapter_memory::MemoryRemoteStore;
    use clap::Parser;
    use sync_core::{Payload, Write};

    use super::*;
    use crate::{
        arguments::Arguments,
        backend::{Backend, Memory},
    };

    fn record(id: u32, value: u32) -> (RecordId, Payload) {
        let payload = Payload::parse(format!(r#"{{"id":"{id}","value":{value}}}"#)).unwrap();
        (RecordId::new(id.to_string()).unwrap(), payload)
    }

    async fn differences(devices: &[Device; 2], remote: &MemoryRemoteStore) -> u64 {
        compare(devices, remote).await.unwrap().differences
    }

    #[tokio::test]
    async fn any_difference_between_the_three_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = Arguments::parse_from(["two_devices"]);
        let backend = Memory::new().unwrap();
        let remote = backend.remote.clone();
        let open = async |name| {
            let connection = backend.connect().await.unwrap();
            Device::open(name, folder.path(), connection, backend.target(), &arguments).await
        };
        let devices = [open("A").await.unwrap(), open("B").await.unwrap()];
        let [a, b] = &devices;
        let many = PAGE as u32 + 10;
        remote.seed(a.scope(), &a.target.collection, (0..many).map(|id| record(id, 1)));
        assert_eq!(differences(&devices, &remote).await, u64::from(many));
        a.engine.synchronize(a.scope()).await.unwrap();
        assert!(
            differences(&devices, &remote).await >= u64::from(many),
            "B has nothing"
        );
        b.engine.synchronize(b.scope()).await.unwrap();
        assert_eq!(differences(&devices, &remote).await, 0);

        let (id, changed) = record(many - 1, 2);
        remote.put(&a.key(&id), changed.clone());
        assert_eq!(
            differences(&devices, &remote).await,
            1,
            "the remote has other content"
        );
        a.engine.synchronize(a.scope()).await.unwrap();
        assert_eq!(differences(&devices, &remote).await, 1, "B has other content");
        b.engine.synchronize(b.scope()).await.unwrap();
        b.engine.write(Write::delete_raw(b.key(&id))).await.unwrap();
        assert_eq!(
            differences(&devices, &remote).await,
            1,
            "a record is missing on B"
        );
        let (id, new) = record(many, 1);
        b.engine.write(Write::create_raw(b.key(&id), new)).await.unwrap();
        assert_eq!(
            differences(&devices, &remote).await,
            2,
            "and another one is only there"
        );
        b.engine.synchronize(b.scope()).await.unwrap();
        a.engine.synchronize(a.scope()).await.unwrap();
        assert_eq!(compare(&devices, &remote).await.unwrap().rows, u64::from(many));
        assert_eq!(differences(&devices, &remote).await, 0);
    }
}
