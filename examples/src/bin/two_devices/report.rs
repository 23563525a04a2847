//! The closing table.

use std::time::Duration;

use sync_core::Settlement;

use crate::{compare::Comparison, deliveries::Deliveries, device::Device, edits::Done, story::grouped};

/// Everything the table tells of one device.
pub(crate) struct Column<'d> {
    pub(crate) device: &'d Device,
    pub(crate) rows: u64,
    pub(crate) done: Done,
}

/// What a conflict ended with, in the order of the table.
const SETTLEMENTS: [(Option<Settlement>, &str); 5] = [
    (Some(Settlement::KeptLocal), "  the device's value stood"),
    (Some(Settlement::TookRemote), "  the remote's value stood"),
    (Some(Settlement::Merged), "  both were merged"),
    (Some(Settlement::Discarded), "  discarded"),
    (None, "  still open"),
];

/// What the table tells of the whole.
pub(crate) struct Totals {
    pub(crate) compared: Comparison,
    pub(crate) deliveries: Deliveries,
    pub(crate) bad_lines: u64,
    pub(crate) time: Duration,
}

/// Prints the table.
pub(crate) fn print(columns: &[Column<'_>; 2], totals: &Totals) {
    println!("\n   {:<34} {:>12} {:>12}", "", "device A", "device B");
    let row = |name: &str, value: &dyn Fn(&Column<'_>) -> String| {
        println!(
            "   {name:<34} {:>12} {:>12}",
            value(&columns[0]),
            value(&columns[1])
        );
    };
    let number = |name: &str, value: &dyn Fn(&Column<'_>) -> u64| row(name, &|column| grouped(value(column)));
    number("rows at the end", &|column| column.rows);
    number("written offline", &|column| column.done.total());
    number("  edits", &|column| column.done.edited);
    number("  deletes", &|column| column.done.deleted);
    number("  new records", &|column| column.done.created);
    number("pushed", &|column| column.device.tally.pushed);
    number("pulled", &|column| column.device.tally.pulled);
    number("conflicts found", &|column| column.device.tally.conflicts());
    for (settlement, name) in SETTLEMENTS {
        let count = |column: &Column<'_>| column.device.tally.settled.get(&settlement).copied().unwrap_or(0);
        if columns.iter().any(|column| count(column) > 0) {
            number(name, &count);
        }
    }
    number("retries of a failed synchronization", &|column| {
        column.device.tally.failed
    });
    row("time synchronizing", &|column| seconds(column.device.tally.time));
    println!();
    println!("   rows at the remote: {}", grouped(totals.compared.remote_rows));
    println!(
        "   writes that reached it more than once: {}; that took effect more than once: {}",
        grouped(totals.deliveries.repeated),
        grouped(totals.deliveries.repeated_effects)
    );
    println!("   lines of the input left out: {}", grouped(totals.bad_lines));
    println!("   time in all: {}", seconds(totals.time));
    let compared = &totals.compared;
    if compared.is_equal() {
        println!("   both devices and the remote are equal: yes");
        return;
    }
    let differences = grouped(compared.differences);
    println!("   both devices and the remote are equal: NO, {differences} records differ");
    if let Some(example) = &compared.example {
        println!("   for example: {example}");
    }
}

/// A duration in seconds.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
