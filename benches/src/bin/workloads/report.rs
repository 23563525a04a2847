//! What is measured, as lines of JSON.

use std::time::Instant;

use serde_json::json;

/// Prints one figure. Units that end in `/s` are better when they are larger.
pub(crate) fn figure(system: &str, workload: &str, measure: &str, unit: &str, value: f64) {
    let value = (value * 1_000.0).round() / 1_000.0;
    println!(
        "{}",
        json!({"sys": system, "w": workload, "m": measure, "unit": unit, "v": value})
    );
}

/// Microseconds since `start`.
pub(crate) fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

/// The value that a share of the samples stays below.
pub(crate) fn quantile(samples: &mut [f64], share: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    // The share lies between 0 and 1, so that the index lies within the samples.
    let index = ((samples.len().saturating_sub(1)) as f64 * share).round() as usize;
    samples.get(index).copied().unwrap_or(f64::NAN)
}

/// Prints the quantiles of times in microseconds.
pub(crate) fn latencies(system: &str, workload: &str, measure: &str, mut samples: Vec<f64>) {
    for (name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let value = quantile(&mut samples, share);
        figure(system, workload, &format!("{measure}{name}"), "us", value);
    }
}

fn status_mib(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kib.unwrap_or(f64::NAN) / 1_024.0
}

/// The resident memory now, in MiB; starts a new peak.
pub(crate) fn memory_now() -> f64 {
    // Where this is not allowed the peak is that of the whole process: too large, never too small.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    status_mib("VmRSS:")
}

/// The most resident memory since [`memory_now`], in MiB.
pub(crate) fn memory_peak() -> f64 {
    status_mib("VmHWM:")
}
