//! Targets by number: rows carry a small integer instead of collection and scope.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{PoisonError, RwLock},
};

use sync_core::{CollectionName, Result, ScopeKey, SyncError, Target};

use crate::{
    driver::{Run, Transaction},
    error::corrupt,
    row::{ReadRow, Row},
    sql::Sql,
};

/// The numbers of targets that are known to be committed. They never change, so the cache never goes stale.
#[derive(Debug, Default)]
pub(crate) struct TargetNumbers {
    by_target: RwLock<HashMap<Target, i64>>,
    by_number: RwLock<HashMap<i64, Target>>,
}

impl TargetNumbers {
    /// The number of a target, if it is known without asking the database.
    pub(crate) fn cached(&self, target: &Target) -> Option<i64> {
        self.by_target
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(target)
            .copied()
    }

    /// Keeps a number that is committed.
    pub(crate) fn remember(&self, target: &Target, number: i64) {
        self.by_target
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(target.clone(), number);
        self.by_number
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, target.clone());
    }

    /// The number of a target, or `None` if the store holds nothing of it.
    pub(crate) async fn find<R: Run>(&self, run: &R, target: &Target) -> Result<Option<i64>> {
        if let Some(number) = self.cached(target) {
            return Ok(Some(number));
        }
        let found = select(run, target).await?;
        if let Some(number) = found {
            self.remember(target, number);
        }
        Ok(found)
    }

    /// As [`TargetNumbers::find`], where what is read may still be undone.
    pub(crate) async fn look_up<R: Run>(&self, run: &R, target: &Target) -> Result<Option<i64>> {
        match self.cached(target) {
            Some(number) => Ok(Some(number)),
            None => select(run, target).await,
        }
    }

    /// The target of a number, if it is known without asking the database.
    pub(crate) fn cached_target(&self, number: i64) -> Option<Target> {
        self.by_number
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
    }

    /// The target of a number.
    pub(crate) async fn target_of<R: Run>(&self, run: &R, number: i64) -> Result<Target> {
        if let Some(target) = self.cached_target(number) {
            return Ok(target);
        }
        let mut sql = Sql::new(
            run.dialect(),
            "SELECT collection, scope FROM sync_targets WHERE target_id = ",
        );
        sql.bind(number);
        let row = run
            .row(sql)
            .await?
            .ok_or_else(|| corrupt(format!("target {number} is gone")))?;
        let target = read_target(&row, 0)?;
        self.remember(&target, number);
        Ok(target)
    }

    /// The numbers of all these targets for a write; those without one get one in this transaction, and are
    /// returned a second time, to be remembered after the commit.
    pub(crate) async fn intern(
        &self,
        transaction: Transaction<'_>,
        targets: BTreeSet<&Target>,
    ) -> Result<(HashMap<Target, i64>, Vec<(Target, i64)>)> {
        let mut numbers = HashMap::with_capacity(targets.len());
        let mut fresh = Vec::new();
        for target in targets {
            if let Some(number) = self.cached(target) {
                numbers.insert(target.clone(), number);
                continue;
            }
            let number = match select(&transaction, target).await? {
                Some(number) => number,
                None => insert(transaction, target).await?,
            };
            numbers.insert(target.clone(), number);
            fresh.push((target.clone(), number));
        }
        Ok((numbers, fresh))
    }
}

/// Reads a target from the columns `collection` and `scope`.
pub(crate) fn read_target(row: &Row, first: usize) -> Result<Target> {
    let damaged = |error: SyncError| corrupt(format!("a target cannot be read: {}", error.message()));
    let collection = CollectionName::new(row.text(first)?).map_err(damaged)?;
    let scope = ScopeKey::parse(&row.text(first + 1)?).map_err(damaged)?;
    Ok(Target::new(collection, scope))
}

async fn select<R: Run>(run: &R, target: &Target) -> Result<Option<i64>> {
    let mut sql = Sql::new(
        run.dialect(),
        "SELECT target_id FROM sync_targets WHERE collection = ",
    );
    sql.bind(target.collection.as_str())
        .push(" AND scope = ")
        .bind(target.scope.key().as_str());
    run.row(sql).await?.map(|row| row.int(0)).transpose()
}

async fn insert(transaction: Transaction<'_>, target: &Target) -> Result<i64> {
    let mut sql = Sql::new(
        transaction.dialect(),
        "INSERT INTO sync_targets (collection, scope) VALUES ",
    );
    sql.bind_list([target.collection.as_str(), target.scope.key().as_str()]);
    transaction.run(sql).await?;
    select(&transaction, target)
        .await?
        .ok_or_else(|| corrupt("a target that was just written is not there"))
}
