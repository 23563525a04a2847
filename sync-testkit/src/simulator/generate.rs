//! Plans drawn from seeds. Which faults there are, and how often, is drawn for each plan anew (swarm testing).

use super::{
    dice::Dice,
    fault_kind::FaultKind,
    plan::{Act, Decider, DeviceSettings, How, Place, Plan, Profile, ReadFrom, Settings, Step},
};

/// How many lists and items each scope has.
pub(crate) const LISTS: usize = 2;
pub(crate) const ITEMS: usize = 4;

/// What plans are drawn from.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// How many operations each plan has.
    pub operations: usize,
    /// The remotes, with their weights.
    pub profiles: Vec<(Profile, u32)>,
    /// The fault kinds that may strike, with their weights.
    pub faults: Vec<(FaultKind, u32)>,
    /// In which share of the plans nothing goes wrong.
    pub calm: f64,
    /// Who decides conflicts, with weights.
    pub deciders: Vec<(Decider, u32)>,
    /// In which share of the plans background drivers synchronize.
    pub background: f64,
    /// In which share of the plans the server changes records on their way in.
    pub server_changes: f64,
    /// Whether records are the parents of others. In four plans of five, unless said.
    pub related: Option<bool>,
    /// Whether each device changes a field of its own where conflicts are merged by fields. In half of those plans,
    /// unless said.
    pub own_fields: Option<bool>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            operations: 100,
            profiles: vec![
                (Profile::Strong, 6),
                (Profile::Small, 2),
                (Profile::Forgetful, 2),
                (Profile::Stampless, 2),
                (Profile::Plain, 2),
                (Profile::Timestamp, 3),
                (Profile::Snapshot, 2),
            ],
            faults: FaultKind::ALL
                .iter()
                .map(|kind| (*kind, default_weight(*kind)))
                .collect(),
            calm: 0.08,
            deciders: vec![
                (Decider::LastWriteWins, 8),
                (Decider::FieldMerge, 4),
                (Decider::ServerWins, 1),
                (Decider::ClientWins, 1),
                (Decider::Manual, 2),
                (Decider::Faulty, 1),
            ],
            background: 0.25,
            server_changes: 0.08,
            related: None,
            own_fields: None,
        }
    }
}

/// What naive clients have no notion of: deadlines, a quarantine, news, a second process, schema versions, rows that
/// vanish. (Of conflicts they know that the last write wins, of remotes the strongest, and they synchronize when told.)
const BEYOND_NAIVE_CLIENTS: &[FaultKind] = &[
    FaultKind::DelayedPastTimeout,
    FaultKind::MalformedRow,
    FaultKind::VanishedRow,
    FaultKind::PokeLost,
    FaultKind::PokeDuplicated,
    FaultKind::PokeDelayed,
    FaultKind::SubscriptionCut,
    FaultKind::SecondProcess,
    FaultKind::SchemaChange,
];

impl PlanOptions {
    /// Plans that a naive client can play: one without a mistake survives them.
    pub fn of_naive_clients() -> Self {
        let mut plans = Self {
            profiles: vec![(Profile::Strong, 1)],
            deciders: vec![(Decider::LastWriteWins, 1)],
            background: 0.0,
            server_changes: 0.0,
            related: Some(false),
            ..Self::default()
        };
        plans
            .faults
            .retain(|(kind, _)| !BEYOND_NAIVE_CLIENTS.contains(kind));
        plans
    }

    /// As [`PlanOptions::of_naive_clients`], with parents and without faults: a naive client sends parents first, and
    /// does not hold back what needs one that was not taken.
    pub fn of_naive_clients_in_order() -> Self {
        Self {
            calm: 1.0,
            related: Some(true),
            ..Self::of_naive_clients()
        }
    }

    /// As [`PlanOptions::of_naive_clients`], with conflicts that are merged by fields.
    pub fn of_naive_clients_that_merge() -> Self {
        Self {
            deciders: vec![(Decider::FieldMerge, 1)],
            own_fields: Some(true),
            ..Self::of_naive_clients()
        }
    }

    /// The fault kinds that can be expected to strike in enough plans.
    pub(crate) fn faults_expected(&self) -> Vec<FaultKind> {
        let drawn = self.faults.iter().filter(|(_, weight)| *weight > 0);
        drawn.map(|(kind, _)| *kind).collect()
    }
}

/// Rare in itself, or hard to hit, means heavy.
fn default_weight(kind: FaultKind) -> u32 {
    match kind {
        FaultKind::BackupRestored | FaultKind::NewEpoch | FaultKind::SchemaChange => 2,
        FaultKind::AccessGranted | FaultKind::ClientClockSkew => 0,
        FaultKind::VanishedRow => 8,
        FaultKind::RemoteDown | FaultKind::RemoteSlow | FaultKind::SecondProcess => 3,
        _ => 4,
    }
}

/// The plan of a seed.
pub fn plan_of(seed: u64, options: &PlanOptions) -> Plan {
    let mut dice = Dice::new(seed.wrapping_mul(0xA076_1D64_78BD_642F) ^ 0x51_7C_C1_B7);
    let mut settings = settings(&mut dice, options);
    // Not drawn, so that what is drawn of a seed does not depend on it.
    settings.unrelated = options.related.map_or(seed % 5 == 4, |related| !related);
    settings.own_fields =
        settings.decider == Decider::FieldMerge && options.own_fields.unwrap_or(seed.is_multiple_of(2));
    let calm = dice.chance(options.calm);
    let mut drawn = Drawn {
        faults: if calm {
            Vec::new()
        } else {
            options
                .faults
                .iter()
                .filter(|(_, weight)| *weight > 0)
                .filter(|_| dice.chance(0.5))
                .copied()
                .collect()
        },
        density: dice.pick(&[0.05, 0.15, 0.3, 0.45]),
        patience: dice.pick(&[4, 25, 80]),
        settings,
        to_end: Vec::new(),
        dice,
    };
    let mut steps = Vec::new();
    let mut operations = 0;
    while operations < options.operations {
        drawn.end_what_is_due(operations, &mut steps);
        if !drawn.faults.is_empty() && drawn.dice.chance(drawn.density) {
            let fault = drawn.fault(operations);
            steps.push(fault);
            continue;
        }
        let act = drawn.act();
        operations += usize::from(act.is_operation());
        let turns = drawn.turns();
        steps.push(Step { act, turns });
    }
    Plan {
        seed,
        settings: drawn.settings,
        steps,
    }
}

fn settings(dice: &mut Dice, options: &PlanOptions) -> Settings {
    let skewed = dice.chance(0.4);
    let count = dice.weighted(&[(1, 1), (2, 4), (3, 4), (4, 1)]);
    let devices = (0..count)
        .map(|_| DeviceSettings {
            page_size: dice.pick(&[1, 2, 3, 5, 50]),
            commit_rows: dice.pick(&[1, 2, 4, 100]),
            push_batch: dice.pick(&[1, 2, 3, 10]),
            sweep_seconds: dice.pick(&[0, 30, 600]),
            clock_skew_millis: match skewed.then(|| dice.below(4)) {
                None | Some(0) => 0,
                Some(1) => dice.between(0, 4_000).cast_signed() - 2_000,
                Some(2) => dice.between(0, 600_000).cast_signed() - 300_000,
                Some(_) => dice.between(0, 7_200_000).cast_signed() - 3_600_000,
            },
        })
        .collect();
    Settings {
        profile: dice.weighted(&options.profiles),
        decider: dice.weighted(&options.deciders),
        devices,
        scopes: dice.weighted(&[(1, 2), (2, 5), (3, 1)]),
        background: dice.chance(options.background),
        server_changes: dice.chance(options.server_changes),
        unrelated: false,
        own_fields: false,
    }
}

/// The bit of the field that only this device changes.
pub(crate) fn own_field(device: usize) -> u8 {
    1 << (device % 4)
}

struct Drawn {
    dice: Dice,
    settings: Settings,
    faults: Vec<(FaultKind, u32)>,
    /// The share of faults among the steps.
    density: f64,
    /// How many turns tasks get between steps, about.
    patience: u64,
    /// Lasting faults, and the number of operations at which they end.
    to_end: Vec<(usize, FaultKind, usize, Place)>,
}

impl Drawn {
    fn device(&mut self) -> usize {
        self.dice.below(self.settings.devices.len())
    }

    fn scope(&mut self) -> usize {
        self.dice.below(self.settings.scopes)
    }

    fn place(&mut self) -> Place {
        let list = self.dice.chance(0.2);
        Place {
            scope: self.scope(),
            list,
            id: self.dice.below(if list { LISTS } else { ITEMS }),
        }
    }

    fn turns(&mut self) -> u32 {
        let turns = match self.dice.below(10) {
            0..3 => 0,
            3..8 => self.dice.between(1, self.patience),
            _ => self.dice.between(1, self.patience * 20),
        };
        u32::try_from(turns).unwrap_or(u32::MAX)
    }

    fn act(&mut self) -> Act {
        let device = self.device();
        let scope = self.scope();
        let syncs = if self.settings.background { 0 } else { 30 };
        let own = self.settings.own_fields.then(|| own_field(device));
        match self.dice.below(70 + syncs) {
            0..30 => Act::Put {
                device,
                place: self.place(),
                fields: {
                    let any = u8::try_from(self.dice.between(1, 16)).unwrap_or(1);
                    own.unwrap_or(any)
                },
                beside: self.dice.chance(0.35),
            },
            30..40 if let Some(fields) = own => Act::Put {
                device,
                place: self.place(),
                fields,
                beside: false,
            },
            30..40 => Act::Delete {
                device,
                place: self.place(),
            },
            40..43 => Act::Batch {
                device,
                scope,
                id: self.dice.below(LISTS),
            },
            43..50 => Act::Read {
                device,
                scope,
                from: self.dice.weighted(&[
                    (ReadFrom::Store, 6),
                    (ReadFrom::StoreFirst, 1),
                    (ReadFrom::RemoteFirst, 1),
                    (ReadFrom::Remote, 1),
                ]),
                query: u8::try_from(self.dice.below(8)).unwrap_or(0),
            },
            50..52 => Act::Retry { device },
            52 => Act::Discard {
                device,
                nth: self.dice.below(4),
            },
            53..55 => Act::Resolve {
                device,
                keep: self.dice.chance(0.5),
            },
            55 => Act::Clear {
                device,
                scope,
                discard: self.dice.chance(0.3),
            },
            56 => Act::Evict { device },
            57 => Act::Reimport { device, scope },
            58 => Act::Restart { device },
            59..62 => Act::ForeignPut { place: self.place() },
            62..64 => Act::ForeignDelete { place: self.place() },
            64..70 => Act::Wait {
                millis: self.dice.pick(&[1, 20, 700, 5_000, 30_000, 120_000]),
            },
            _ => Act::Sync {
                device,
                scope,
                how: self.dice.weighted(&[
                    (How::Both, 14),
                    (How::Push, 4),
                    (How::Pull, 4),
                    (How::Full, 1),
                    (How::Sweep, 1),
                ]),
            },
        }
    }

    fn fault(&mut self, operations: usize) -> Step {
        let kind = self.dice.weighted(&self.faults);
        let (device, place) = (self.device(), self.place());
        let amount = self.dice.next() >> 32;
        if kind.lasts() {
            let end = operations + self.dice.pick(&[1, 3, 8, 20]);
            self.to_end.push((end, kind, device, place));
        }
        Step {
            act: Act::Fault {
                kind,
                device,
                place,
                amount,
            },
            turns: 0,
        }
    }

    fn end_what_is_due(&mut self, operations: usize, steps: &mut Vec<Step>) {
        for (_, kind, device, place) in self.to_end.extract_if(.., |(end, ..)| *end <= operations) {
            steps.push(Step {
                act: Act::End { kind, device, place },
                turns: 0,
            });
        }
    }
}
