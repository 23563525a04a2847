//! How far the campaign is.

use indicatif::{ProgressBar, ProgressStyle};
use sync_testkit::simulator::Progress;

/// A bar on the terminal; nothing where there is none.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(seeds: u64) -> Self {
        let bar = ProgressBar::new(seeds);
        let template = "{bar:32} {pos}/{len} seeds, {msg}, {elapsed} (about {eta} left)";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(crate) fn show(&self, progress: Progress) {
        if progress.seeds.is_multiple_of(16) || progress.failures > 0 {
            self.0.set_message(format!(
                "{} operations, {} failures",
                progress.operations, progress.failures
            ));
            self.0.set_position(progress.seeds);
        }
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
