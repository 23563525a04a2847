//! Leases with fencing tokens, across tasks and processes.

use std::time::Duration;

use async_trait::async_trait;
use sync_core::{Fence, LeaseAnswer, Result, Timestamp};
use uuid::Uuid;

use crate::{
    dialect::Dialect,
    driver::{Run, Step, Transaction, Write},
    row::{ReadRow, counter},
    sql::{Param, Sql},
};

/// Takes a lease, or goes on with the own one.
#[derive(Debug)]
pub(crate) struct Acquire {
    pub(crate) name: String,
    pub(crate) holder: Uuid,
    pub(crate) now: Timestamp,
    pub(crate) time: Duration,
}

#[async_trait]
impl Write for Acquire {
    type Draft = LeaseAnswer;
    type Answer = LeaseAnswer;

    fn rows(&self) -> usize {
        1
    }

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<LeaseAnswer, LeaseAnswer>> {
        let answer = decide(transaction, &self.name, self.holder, self.now, self.time).await?;
        Ok(Step::Commit(answer))
    }

    fn committed(&self, answer: LeaseAnswer) -> LeaseAnswer {
        answer
    }
}

/// Gives a lease back, if it is still held under the fence's token.
#[derive(Debug)]
pub(crate) struct Release(pub(crate) Fence);

#[async_trait]
impl Write for Release {
    type Draft = ();
    type Answer = ();

    fn rows(&self) -> usize {
        1
    }

    async fn run(&self, transaction: Transaction<'_>) -> Result<Step<(), ()>> {
        let sql = give_back(transaction.dialect(), &self.0)?;
        transaction.run(sql).await.map(Step::Commit)
    }

    fn committed(&self, (): ()) {}
}

async fn decide(
    transaction: Transaction<'_>,
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

/// The statement that gives a lease back.
pub(crate) fn give_back(dialect: Dialect, fence: &Fence) -> Result<Sql> {
    // The row stays, for its token.
    let mut sql = Sql::new(dialect, "UPDATE sync_leases SET holder = NULL WHERE name = ");
    sql.bind(fence.lease.as_str())
        .push(" AND token = ")
        .bind(counter("token", fence.token)?);
    Ok(sql)
}
