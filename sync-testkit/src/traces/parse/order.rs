//! Which step sends which write.

use std::collections::BTreeMap;

use crate::traces::vocabulary::{Action, Actor, At, Fault, Moment, ReadPolicy, Step};

/// Fills in [`Step::sent_at`] of writes with a stamp.
pub(super) fn find_senders(steps: &mut [Step]) {
    let mut place = 0;
    let mut senders: BTreeMap<Option<String>, Vec<u64>> = BTreeMap::new();
    visit(steps, &mut place, &mut |step, place| {
        if let (Some(client), true) = (sender(step), sends(step)) {
            senders.entry(client).or_default().push(place);
        }
    });
    place = 0;
    visit(steps, &mut place, &mut |step, place| {
        let (At::Stamp(_), Actor::Client(client)) = (step.at, &step.actor) else {
            return;
        };
        // Everyone sends when all settle.
        let own = senders.get(&Some(client.clone()));
        let all = senders.get(&None);
        let later = own.into_iter().chain(all).flatten().filter(|sent| **sent > place);
        step.sent_at = later.min().copied();
    });
}

/// Every step with its place, nested ones after the one they are in.
fn visit(steps: &mut [Step], place: &mut u64, each: &mut impl FnMut(&mut Step, u64)) {
    for step in steps {
        each(step, *place);
        *place += 1;
        for nested in [
            &mut step.during_push,
            &mut step.during_pull,
            &mut step.between_pages,
        ] {
            visit(nested, place, each);
        }
    }
}

/// Who sends in a step: a client, or everyone.
fn sender(step: &Step) -> Option<Option<String>> {
    match &step.actor {
        Actor::Client(client) => Some(Some(client.clone())),
        Actor::Nobody => Some(None),
        Actor::ThirdParty | Actor::Remote => None,
    }
}

fn sends(step: &Step) -> bool {
    let tries = match step.action {
        Action::Sync | Action::Push | Action::FullResync | Action::SyncParallel(_) | Action::Settle => true,
        Action::Read(policy, ..) => policy != ReadPolicy::OfflineOnly,
        _ => step.require_remote,
    };
    let fails = step.faults.iter().any(|fault| {
        matches!(
            fault,
            Fault::Offline
                | Fault::LostRequest
                | Fault::PushServerError
                | Fault::Unauthenticated
                | Fault::RateLimited
                | Fault::StoreBusy
                | Fault::DiskFull
                | Fault::Crash(Moment::BeforePush)
        )
    });
    tries && !fails
}
