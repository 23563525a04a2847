//! Measuring: samples, medians, a table of ratios.

use std::time::{Duration, Instant};

/// Times of repetitions of one thing.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Runs `what` and keeps how long it took.
    pub fn time<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = what();
        self.0.push(started.elapsed());
        result
    }

    /// Runs `what` to its end and keeps how long it took.
    pub async fn time_async<T>(&mut self, what: impl Future<Output = T>) -> T {
        let started = Instant::now();
        let result = what.await;
        self.0.push(started.elapsed());
        result
    }

    /// The middle of the times, in microseconds.
    pub fn median_us(&self) -> f64 {
        self.quantile_us(0.5)
    }

    /// The time that a share of the repetitions stayed below, in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        // The index of the share, which lies between 0 and 1, among the sorted times.
        let at = ((last as f64) * share).round() as usize;
        sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    }
}

/// Prints a line for each thing measured: ours, the floor, and the ratio.
#[derive(Debug, Default)]
pub struct Table(());

impl Table {
    /// Prints the head.
    pub fn head() -> Self {
        println!(
            "{:<58} {:>12} {:>12} {:>8}",
            "what", "ours", "compared to", "ratio"
        );
        Self(())
    }

    /// A line where less is better: microseconds, ours against something else.
    pub fn line(&self, what: &str, ours_us: f64, other_us: f64) {
        println!(
            "{what:<58} {:>12} {:>12} {:>7.2}x",
            text(ours_us),
            text(other_us),
            ours_us / other_us
        );
    }

    /// A remark.
    pub fn note(&self, text: &str) {
        println!("  {text}");
    }
}

fn text(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.1} us"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

/// The most memory this process has had resident, in KiB; `None` where the system does not tell.
pub fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
