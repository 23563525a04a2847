//! Running a trace, step by step.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use sync_core::{Result, SyncError};
use tokio::sync::{mpsc, oneshot};

use super::{
    act,
    device::{BETWEEN_STEPS, Device},
    expectations,
    report::{Outcome, TraceReport},
    script::{Plan, Point, Reached},
    stores::StoreKind,
    subject::Subject,
    vectors,
    vocabulary::{Action, Actor, Fault, Moment, Step, Strategy, Trace},
    world::World,
};

/// A trace takes milliseconds; one that takes so long waits for something that never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a trace with clients on stores of this kind.
///
/// Needs a tokio runtime with time enabled. On a current-thread runtime and with stores in memory, equal traces run
/// equally every time.
pub async fn run_trace(trace: &Trace, kind: StoreKind) -> TraceReport {
    run_trace_against(Subject::Engine, trace, kind).await
}

/// As [`run_trace`], against the engine among mistakes of others, or a double in its place.
pub async fn run_trace_against(subject: Subject, trace: &Trace, kind: StoreKind) -> TraceReport {
    // Its type is hidden: nested in those of callers, the compiler finds it too deep.
    let outcome: BoxFuture<'_, Outcome> = Box::pin(outcome(subject, trace, kind));
    TraceReport {
        id: trace.id.clone(),
        area: trace.area.clone(),
        outcome: outcome.await,
    }
}

async fn outcome(subject: Subject, trace: &Trace, kind: StoreKind) -> Outcome {
    let mut strategies = trace
        .config
        .scope_resolver
        .values()
        .chain([&trace.config.resolver]);
    if strategies.any(|strategy| *strategy == Strategy::FieldRegisters) {
        return Outcome::Unsupported("the resolver field_lww".to_owned());
    }
    let world = match World::new(trace, kind, subject).await {
        Ok(world) => world,
        Err(error) => return failed("setup", &error),
    };
    let running = async {
        for (index, step) in trace.steps.iter().enumerate() {
            run_step(&world, step, (index + 1).to_string(), &[]).await;
        }
        expectations::check(&world, &trace.expect).await
    };
    match tokio::time::timeout(PATIENCE, running).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => world.fail("expect", "the records can be read", error.to_string()),
        Err(_) => world.fail("?", "an end", format!("nothing within {PATIENCE:?}")),
    }
    for device in world.devices.values() {
        device.kill();
    }
    for (index, vector) in trace.vectors.iter().enumerate() {
        match vectors::check(vector) {
            Ok(None) => {}
            Ok(Some((expected, got))) => world.fail(&format!("vector {}", index + 1), expected, got),
            Err(why) => return Outcome::Unsupported(format!("vector {}: {why}", index + 1)),
        }
    }
    let failures = world.take_failures();
    if failures.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(failures)
    }
}

fn failed(step: &str, error: &SyncError) -> Outcome {
    Outcome::Failed(vec![super::report::Failure {
        step: step.to_owned(),
        expected: "success".to_owned(),
        got: error.to_string(),
    }])
}

/// What is planned for a moment of a step.
enum Planned<'a> {
    Crash,
    Cancel,
    Nested(&'static str, &'a [Step]),
}

/// A plan, and the moments of which the first that comes sets it off.
struct Trigger<'a> {
    points: BTreeSet<Point>,
    planned: Planned<'a>,
}

/// How a step ended.
enum Ended {
    /// By itself.
    Itself(Result<act::Done>),
    /// The process ended.
    Crashed(Reached),
    /// The caller gave up.
    Cancelled(oneshot::Sender<()>),
}

/// Runs one step. `outer` are the devices in the middle of a step that this one is nested in.
fn run_step<'a>(world: &'a World, step: &'a Step, path: String, outer: &'a [&'a str]) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        match &step.actor {
            Actor::Client(name) => match world.devices.get(name) {
                Some(device) => client_step(world, device, step, &path, outer).await,
                None => world.fail(&path, "a client", format!("nobody named {name}")),
            },
            _ => {
                if let Err(error) = act::world_action(world, step, &path).await
                    && !step.must_fail
                {
                    world.fail(&path, "success", error.to_string());
                }
            }
        }
        world.time.advance(BETWEEN_STEPS);
    })
}

async fn client_step(world: &World, device: &Arc<Device>, step: &Step, path: &str, outer: &[&str]) {
    let mut triggers = triggers_of(step);
    let (sender, mut reached) = mpsc::unbounded_channel();
    let plan = Plan {
        faults: step
            .faults
            .iter()
            .filter(|fault| !matches!(fault, Fault::Crash(_) | Fault::Cancel(_)))
            .cloned()
            .collect(),
        only_scope: step.only_scope.clone(),
        watched: triggers
            .iter()
            .flat_map(|trigger| trigger.points.clone())
            .collect(),
        reached: Some(sender),
        ..Plan::default()
    };
    let before = device.script.replace(plan);
    let inside: Vec<&str> = outer.iter().copied().chain([device.name.as_str()]).collect();
    let is_nested = outer.contains(&device.name.as_str());
    let mut flow = Flow {
        world,
        path,
        inside: &inside,
        triggers: &mut triggers,
        reached: &mut reached,
    };
    let action = Box::pin(act::client_action(world, device, step, path, is_nested));
    let mut ended = flow.drive(action).await;
    device.end_write();
    let mut result = None;
    let mut interrupted = false;
    loop {
        match ended {
            Ended::Itself(outcome) if result.is_none() && !interrupted => result = Some(outcome),
            Ended::Itself(_) => break,
            Ended::Crashed(at) => {
                crash(world, device, path).await;
                drop(at);
                interrupted = true;
                break;
            }
            Ended::Cancelled(go_on) => {
                interrupted = true;
                let _ = go_on.send(());
            }
        }
        if is_nested {
            break;
        }
        // What goes on without its caller comes to its end.
        ended = flow.drive(Box::pin(drained(device))).await;
    }
    leftovers(world, device, triggers, path, &inside).await;
    device.script.replace(before);
    if let Err(error) = act::after_step(world, device).await {
        world.fail(
            path,
            "the app can look after refused operations",
            error.to_string(),
        );
    }
    if !interrupted && let Some(result) = result {
        judge(world, step, path, result);
    }
}

async fn drained(device: &Device) -> Result<act::Done> {
    device.drain().await;
    Ok(act::Done::default())
}

async fn crash(world: &World, device: &Device, path: &str) {
    device.kill();
    if let Err(error) = device.open().await {
        world.fail(path, "the store opens after a crash", error.to_string());
    }
}

/// What was planned for moments that did not come happens at the end of the step.
async fn leftovers(world: &World, device: &Device, triggers: Vec<Trigger<'_>>, path: &str, inside: &[&str]) {
    for trigger in triggers {
        match trigger.planned {
            Planned::Crash => crash(world, device, path).await,
            Planned::Cancel => {}
            Planned::Nested(name, steps) => {
                for (index, step) in steps.iter().enumerate() {
                    // The device is in the middle of nothing any more.
                    let outer = &inside[..inside.len().saturating_sub(1)];
                    run_step(world, step, format!("{path}.{name}.{}", index + 1), outer).await;
                }
            }
        }
    }
}

fn triggers_of(step: &Step) -> Vec<Trigger<'_>> {
    let mut triggers = Vec::new();
    for (name, points, steps) in [
        ("during_push", Point::PushApplied, &step.during_push),
        ("during_pull", Point::PullAnswered, &step.during_pull),
        ("between_pages", Point::BeforeSecondPage, &step.between_pages),
    ] {
        if !steps.is_empty() {
            triggers.push(Trigger {
                points: [points].into(),
                planned: Planned::Nested(name, steps),
            });
        }
    }
    for fault in &step.faults {
        let (moment, planned) = match fault {
            Fault::Crash(moment) => (moment, Planned::Crash),
            Fault::Cancel(moment) => (moment, Planned::Cancel),
            _ => continue,
        };
        // Where nothing is pushed, the moments of a push lie before the pull.
        let points = match moment {
            Moment::BeforePush => [Point::BeforePush, Point::BeforePull].into(),
            Moment::AfterPush => [Point::PushApplied, Point::BeforePull].into(),
            Moment::MidApply => [Point::MidApply].into(),
            Moment::AfterApply => [Point::AfterApply].into(),
        };
        triggers.push(Trigger { points, planned });
    }
    triggers
}

/// A step under way.
struct Flow<'a, 'b> {
    world: &'b World,
    path: &'b str,
    inside: &'b [&'b str],
    triggers: &'b mut Vec<Trigger<'a>>,
    reached: &'b mut mpsc::UnboundedReceiver<Reached>,
}

impl Flow<'_, '_> {
    /// Runs `action` to its end, or until the plan of the step ends it. Either way it is gone afterwards.
    async fn drive(&mut self, mut action: BoxFuture<'_, Result<act::Done>>) -> Ended {
        loop {
            let reached = tokio::select! {
                biased;
                Some(reached) = self.reached.recv() => reached,
                outcome = &mut action => return Ended::Itself(outcome),
            };
            let found = self
                .triggers
                .iter()
                .position(|trigger| trigger.points.contains(&reached.point));
            let Some(place) = found else {
                let _ = reached.go_on.send(());
                continue;
            };
            match self.triggers.remove(place).planned {
                Planned::Crash => return Ended::Crashed(reached),
                Planned::Cancel => return Ended::Cancelled(reached.go_on),
                Planned::Nested(name, steps) => {
                    for (index, step) in steps.iter().enumerate() {
                        let path = format!("{}.{name}.{}", self.path, index + 1);
                        run_step(self.world, step, path, self.inside).await;
                    }
                    let _ = reached.go_on.send(());
                }
            }
        }
    }
}

/// Whether the step ended as it must. A synchronization may fail unless the trace says otherwise: what counts is what
/// holds afterwards.
fn judge(world: &World, step: &Step, path: &str, result: Result<act::Done>) {
    let may_fail = matches!(
        step.action,
        Action::Sync
            | Action::Push
            | Action::Pull
            | Action::FullResync
            | Action::SyncParallel(_)
            | Action::DropScope
            | Action::Settle
    );
    match (result, step.must_fail) {
        (Ok(done), true) if done.left_over == 0 => world.fail(path, "an error", "success"),
        (Err(error), false) if !may_fail => world.fail(path, "success", error.to_string()),
        _ => {}
    }
}
