//! A bad network in front of any HTTP backend.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sync_http::{HttpRequest, HttpResponse, HttpStream, Transport, TransportError, TransportErrorKind};

use super::{ANSWER_LOST, NETWORK_DOWN, Network};

/// How likely a request is lost on its way, and how likely its answer. One push or pull makes several requests, and a
/// batch with many conflicts makes many, so this is less than it looks.
const LOST: f64 = 0.005;
/// How likely a request arrives twice.
const TWICE: f64 = 0.02;

/// Names the operations in a request, by whatever text tells them apart.
pub(crate) type NameOps = fn(&HttpRequest) -> Vec<String>;

/// A transport that loses requests and answers and repeats requests when it is told to, and counts which operations
/// arrived how often.
#[derive(Debug)]
pub(crate) struct BadNetwork {
    good: Arc<dyn Transport>,
    name_ops: NameOps,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    arrivals: HashMap<String, u64>,
}

#[derive(Debug, Default)]
enum Mood {
    #[default]
    Calm,
    Cut,
    /// So many requests were seen since; the first ones have their faults for certain.
    Disturbed(SmallRng, u32),
}

#[derive(Clone, Copy)]
enum Fate {
    Arrives,
    ArrivesTwice,
    Lost,
    AnswerLost,
}

impl BadNetwork {
    pub(super) fn new(good: Arc<dyn Transport>, name_ops: NameOps) -> Self {
        Self {
            good,
            name_ops,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations arrived more than once.
    pub(super) fn repeated(&self) -> u64 {
        self.state().arrivals.values().filter(|times| **times > 1).count() as u64
    }

    fn fate(&self) -> Fate {
        match &mut self.state().mood {
            Mood::Calm => Fate::Arrives,
            Mood::Cut => Fate::Lost,
            Mood::Disturbed(random, seen) => {
                *seen += 1;
                let dice: f64 = random.random();
                match *seen {
                    1 | 4 => Fate::AnswerLost,
                    2 => Fate::ArrivesTwice,
                    3 => Fate::Lost,
                    _ if dice < LOST => Fate::Lost,
                    _ if dice < 2.0 * LOST => Fate::AnswerLost,
                    _ if dice < 2.0 * LOST + TWICE => Fate::ArrivesTwice,
                    _ => Fate::Arrives,
                }
            }
        }
    }

    async fn deliver(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let ops = (self.name_ops)(&request);
        let answer = self.good.send(request).await?;
        let mut state = self.state();
        for op in ops {
            *state.arrivals.entry(op).or_default() += 1;
        }
        Ok(answer)
    }
}

#[async_trait]
impl Transport for BadNetwork {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        match self.fate() {
            Fate::Arrives => self.deliver(request).await,
            Fate::ArrivesTwice => {
                self.deliver(request.clone()).await?;
                self.deliver(request).await
            }
            Fate::Lost => Err(TransportError::new(TransportErrorKind::Connect, NETWORK_DOWN)),
            Fate::AnswerLost => {
                self.deliver(request).await?;
                Err(TransportError::new(TransportErrorKind::Timeout, ANSWER_LOST))
            }
        }
    }

    async fn open(&self, request: HttpRequest) -> Result<HttpStream, TransportError> {
        self.good.open(request).await
    }
}

impl Network for BadNetwork {
    fn disturb(&self, seed: u64) {
        self.state().mood = Mood::Disturbed(SmallRng::seed_from_u64(seed), 0);
    }

    fn cut(&self) {
        self.state().mood = Mood::Cut;
    }

    fn calm(&self) {
        self.state().mood = Mood::Calm;
    }
}
