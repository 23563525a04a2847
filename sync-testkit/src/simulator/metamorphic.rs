//! Changes of a plan that must not change its end.
//!
//! What a plan ends with is known where the last write wins, and every device only overwrites whole records, or deletes
//! those that it alone writes: the last write of each record. (A delete of what others write as well depends on whether
//! the device has heard of it by then.) More synchronizations, restarts, other page sizes and a bad network make no
//! difference.

use std::{collections::BTreeMap, fmt};

use sync_core::{Payload, RecordKey};

use super::{
    Simulator,
    dice::Dice,
    fault_kind::FaultKind,
    generate::ITEMS,
    plan::{Act, Decider, DeviceSettings, How, Place, Plan, Profile, Settings, Step},
};

/// A change that must make no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Variation {
    /// Someone synchronizes after every step.
    ExtraSyncs,
    /// The device restarts after every step.
    Restarts,
    /// Pages, batches and commits have other sizes.
    OtherSizes,
    /// The network, the remote and the processes fail.
    Faults,
}

impl Variation {
    /// Every variation.
    pub const ALL: [Variation; 4] = [Self::ExtraSyncs, Self::Restarts, Self::OtherSizes, Self::Faults];
}

impl fmt::Display for Variation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExtraSyncs => "more synchronizations",
            Self::Restarts => "a restart after every step",
            Self::OtherSizes => "other page and batch sizes",
            Self::Faults => "faults",
        })
    }
}

/// What strikes in [`Variation::Faults`]: nothing that keeps a write of the user from being made, or that changes
/// the remote by itself.
const HARMLESS: &[FaultKind] = &[
    FaultKind::RequestLost,
    FaultKind::AnswerLost,
    FaultKind::AnswerGarbled,
    FaultKind::Duplicated,
    FaultKind::Redelivered,
    FaultKind::Reordered,
    FaultKind::DelayedPastTimeout,
    FaultKind::Partition,
    FaultKind::RemoteDown,
    FaultKind::RemoteSlow,
    FaultKind::ServerError,
    FaultKind::RateLimited,
    FaultKind::RateLimitedWithPause,
    FaultKind::PartialPush,
    FaultKind::PageCap,
    FaultKind::TokenExpired,
    FaultKind::TokenRefused,
    FaultKind::NewEpoch,
    FaultKind::CursorExpired,
    FaultKind::Crash,
    FaultKind::SecondProcess,
];

/// A plan in which nothing goes wrong, and in which the order of the writes decides everything.
fn calm_plan(seed: u64, operations: usize) -> Plan {
    let mut dice = Dice::new(seed ^ 0x5EED_CA1A);
    let device = DeviceSettings {
        page_size: 3,
        commit_rows: 4,
        push_batch: 2,
        sweep_seconds: 600,
        clock_skew_millis: 0,
    };
    let devices = dice.between(2, 4);
    let mut steps = Vec::new();
    for _ in 0..operations {
        let device = dice.below(usize::try_from(devices).unwrap_or(2));
        let scope = dice.below(2);
        let item = |id| Place {
            scope,
            list: false,
            id,
        };
        let own = item(ITEMS + device);
        let put = |place| Act::Put {
            device,
            place,
            fields: 7,
            beside: false,
        };
        let act = match dice.below(20) {
            0..8 => put(item(dice.below(ITEMS))),
            8..11 => put(own),
            11..14 => Act::Delete { device, place: own },
            _ => Act::Sync {
                device,
                scope,
                how: How::Both,
            },
        };
        let turns = u32::try_from(dice.between(0, 60)).unwrap_or(0);
        steps.push(Step { act, turns });
        // Writes of one millisecond have no order of their own.
        let wait = Act::Wait { millis: 5 };
        steps.push(Step { act: wait, turns: 0 });
    }
    Plan {
        seed,
        settings: Settings {
            profile: Profile::Strong,
            decider: Decider::LastWriteWins,
            devices: (0..devices).map(|_| device.clone()).collect(),
            scopes: 2,
            background: false,
            server_changes: false,
            unrelated: false,
            own_fields: false,
        },
        steps,
    }
}

fn varied(plan: &Plan, variation: Variation) -> Plan {
    let mut dice = Dice::new(plan.seed ^ 0x000D_1FFE);
    let mut varied = plan.clone();
    let devices = varied.settings.devices.len();
    if variation == Variation::OtherSizes {
        for device in &mut varied.settings.devices {
            device.page_size = dice.pick(&[1, 2, 7, 100]);
            device.commit_rows = dice.pick(&[1, 3, 50]);
            device.push_batch = dice.pick(&[1, 5, 20]);
        }
        return varied;
    }
    let step = |act| Step { act, turns: 0 };
    varied.steps = Vec::new();
    for original in &plan.steps {
        varied.steps.push(original.clone());
        if matches!(original.act, Act::Wait { .. }) {
            continue;
        }
        let device = dice.below(devices);
        let place = Place {
            scope: dice.below(2),
            list: false,
            id: 0,
        };
        match variation {
            Variation::ExtraSyncs => {
                let how = dice.pick(&[How::Both, How::Push, How::Pull, How::Full, How::Sweep]);
                let scope = place.scope;
                varied.steps.push(Step {
                    act: Act::Sync { device, scope, how },
                    turns: 200,
                });
            }
            Variation::Restarts => varied.steps.push(step(Act::Restart { device })),
            Variation::Faults => {
                let kind = dice.pick(HARMLESS);
                let amount = dice.next() >> 32;
                let fault = Act::Fault {
                    kind,
                    device,
                    place,
                    amount,
                };
                varied.steps.push(step(fault));
                if dice.chance(0.3) {
                    let kind = dice.pick(&[
                        FaultKind::Partition,
                        FaultKind::RemoteDown,
                        FaultKind::TokenExpired,
                    ]);
                    varied.steps.push(step(Act::End { kind, device, place }));
                }
            }
            Variation::OtherSizes => {}
        }
    }
    varied
}

/// Whether both are the same records. A merge on the way may have rendered one anew.
fn same_records(one: &BTreeMap<RecordKey, Payload>, other: &BTreeMap<RecordKey, Payload>) -> bool {
    let mut pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.all(|(a, b)| a.0 == b.0 && a.1.same_content(b.1))
}

impl Simulator {
    /// Checks that no variation changes what a plan of so many operations ends with.
    ///
    /// # Errors
    /// What did not hold, or which variation ended differently.
    pub fn check_variations(&self, seed: u64, operations: usize) -> Result<(), String> {
        let plan = calm_plan(seed, operations);
        let expected = self.run(&plan);
        if let Some(violation) = expected.violations.first() {
            return Err(format!("seed {seed}: {violation}"));
        }
        for variation in Variation::ALL {
            let outcome = self.run(&varied(&plan, variation));
            if let Some(violation) = outcome.violations.first() {
                return Err(format!("seed {seed} with {variation}: {violation}"));
            }
            if !same_records(&outcome.truth, &expected.truth) {
                return Err(format!(
                    "seed {seed} ends differently with {variation}: {:?}, not {:?}",
                    outcome.truth, expected.truth
                ));
            }
        }
        Ok(())
    }
}
