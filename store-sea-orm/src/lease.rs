//! Leases with fencing tokens, across tasks and processes.

use std::{sync::Arc, time::Duration};

use sync_core::{Fence, LeaseAnswer, Result, Timestamp};
use uuid::Uuid;

use crate::{
    driver::{Run, Transaction},
    row::counter,
    sql::{Param, Sql},
    store::Shared,
};

pub(crate) async fn acquire(
    store: Arc<Shared>,
    name: String,
    holder: Uuid,
    now: Timestamp,
    time: Duration,
) -> Result<LeaseAnswer> {
    let transaction = store.database.begin_write().await?;
    let answer = decide(&transaction, &name, holder, now, time).await;
    transaction.finish(answer).await
}

async fn decide(
    transaction: &Transaction,
    name: &str,
    holder: Uuid,
    now: Timestamp,
    time: Duration,
) -> Result<LeaseAnswer> {
    let mut sql = Sql::new(
        transaction.dialect(),
        "SELECT token, holder, held_until FROM sync_leases WHERE name = ",
    );
    sql.bind(name);
    let current = match transaction.row(sql).await? {
        Some(row) => Some((row.count(0)?, row.opt_uuid(1)?, row.time(2)?)),
        None => None,
    };
    let token = match current {
        // The own lease goes on, also after its end, as long as nobody took it over.
        Some((token, Some(current), _)) if current == holder => token,
        Some((_, Some(_), until)) if until >= now => return Ok(LeaseAnswer::Held { until }),
        // Given back or run out: the token grows, so that commits under the old one are refused.
        Some((token, ..)) => token + 1,
        None => 1,
    };
    let until = now.plus(time);
    let sql = if current.is_some() {
        let mut sql = Sql::new(transaction.dialect(), "UPDATE sync_leases SET token = ");
        sql.bind(counter("token", token)?)
            .push(", holder = ")
            .bind(holder)
            .push(", held_until = ")
            .bind(until);
        sql.push(" WHERE name = ").bind(name);
        sql
    } else {
        let mut sql = Sql::new(
            transaction.dialect(),
            "INSERT INTO sync_leases (name, token, holder, held_until) VALUES ",
        );
        sql.bind_list::<Param>([
            name.into(),
            counter("token", token)?.into(),
            holder.into(),
            until.into(),
        ]);
        sql
    };
    transaction.run(sql).await?;
    Ok(LeaseAnswer::Granted(Fence {
        lease: name.to_owned(),
        token,
    }))
}

pub(crate) async fn release(store: Arc<Shared>, fence: Fence) -> Result<()> {
    let transaction = store.database.begin_write().await?;
    let released = give_back(&transaction, &fence).await;
    transaction.finish(released).await
}

async fn give_back(transaction: &Transaction, fence: &Fence) -> Result<()> {
    // The row stays, for its token.
    let mut sql = Sql::new(
        transaction.dialect(),
        "UPDATE sync_leases SET holder = NULL WHERE name = ",
    );
    sql.bind(fence.lease.as_str())
        .push(" AND token = ")
        .bind(counter("token", fence.token)?);
    transaction.run(sql).await.map(drop)
}
