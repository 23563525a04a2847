//! Makes a failing plan small: first the steps, then the faults, then the devices.

use super::plan::{Act, Plan};

/// The smallest plan found that still fails, within so many runs.
pub(crate) fn shrunk(plan: &Plan, budget: usize, mut fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut shrinking = Shrinking {
        best: plan.clone(),
        left: budget,
        fails: &mut fails,
    };
    // What one pass removes lets the next remove more.
    loop {
        let before = shrinking.best.clone();
        shrinking.drop_steps(|_| true);
        shrinking.drop_steps(Act::is_fault);
        shrinking.drop_devices();
        shrinking.drop_turns();
        shrinking.calm_settings();
        if shrinking.best == before || shrinking.left == 0 {
            return shrinking.best;
        }
    }
}

struct Shrinking<'a> {
    best: Plan,
    left: usize,
    fails: &'a mut dyn FnMut(&Plan) -> bool,
}

impl Shrinking<'_> {
    /// Takes a smaller plan if it still fails.
    fn take(&mut self, smaller: Plan) -> bool {
        if self.left == 0 || smaller == self.best {
            return false;
        }
        self.left -= 1;
        let fails = (self.fails)(&smaller);
        if fails {
            self.best = smaller;
        }
        fails
    }

    /// Drops runs of steps, shorter and shorter ones (Zeller, Hildebrandt: *Simplifying and Isolating
    /// Failure-Inducing Input*, 2002).
    fn drop_steps(&mut self, which: impl Fn(&Act) -> bool) {
        let mut length = self.best.steps.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < self.best.steps.len() {
                let mut smaller = self.best.clone();
                let end = (from + length).min(smaller.steps.len());
                let kept: Vec<_> = smaller
                    .steps
                    .drain(from..end)
                    .filter(|step| !which(&step.act))
                    .collect();
                let passed = kept.len();
                smaller.steps.splice(from..from, kept);
                if !self.take(smaller) {
                    from = end;
                } else {
                    from += passed;
                }
            }
            if length == 1 {
                return;
            }
            length /= 2;
        }
    }

    fn drop_devices(&mut self) {
        let mut device = 0;
        while device < self.best.settings.devices.len() && self.best.settings.devices.len() > 1 {
            if !self.take(self.best.without_device(device)) {
                device += 1;
            }
        }
    }

    fn drop_turns(&mut self) {
        for at in 0..self.best.steps.len() {
            for turns in [0, 1, 10, 1_000] {
                let mut simpler = self.best.clone();
                let step = &mut simpler.steps[at];
                if step.turns <= turns && !(turns == 1_000 && step.turns < 1_000 && step.turns > 0) {
                    break;
                }
                step.turns = turns;
                if self.take(simpler) {
                    break;
                }
            }
        }
    }

    fn calm_settings(&mut self) {
        let changes: [fn(&mut Plan); 5] = [
            |plan| plan.settings.background = false,
            |plan| plan.settings.server_changes = false,
            |plan| plan.settings.unrelated = false,
            |plan| plan.settings.scopes = 1,
            |plan| {
                for device in &mut plan.settings.devices {
                    device.clock_skew_millis = 0;
                }
            },
        ];
        for change in changes {
            let mut calmer = self.best.clone();
            change(&mut calmer);
            self.take(calmer);
        }
    }
}
