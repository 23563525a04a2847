//! What the program tells while it works: paragraphs on the standard output, progress where it can be seen.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Tells the story.
#[derive(Debug)]
pub(crate) struct Story {
    terminal: bool,
}

impl Story {
    /// A story with progress bars if the standard error is a terminal, and with lines if not.
    pub(crate) fn begin() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Begins a chapter.
    pub(crate) fn chapter(&self, title: &str) {
        println!("\n{title}");
    }

    /// Tells one thing.
    pub(crate) fn tell(&self, what: &str) {
        println!("   {what}");
    }

    /// Shows how `what` goes on, of `total` steps if they are known.
    pub(crate) fn progress(&self, what: &'static str, total: Option<u64>) -> ProgressLine {
        let bar = self.terminal.then(|| {
            let (bar, template) = match total {
                Some(total) => (
                    ProgressBar::new(total),
                    "   {msg:14} [{bar:40}] {human_pos} of {human_len} {elapsed}",
                ),
                None => (
                    ProgressBar::no_length(),
                    "   {msg:14} {spinner} {human_pos} {elapsed}",
                ),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            // The templates are constant; the plain style is as good should one ever be refused.
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style).with_message(what)
        });
        ProgressLine {
            what,
            total,
            bar,
            next_line: ProgressLine::STEPS_PER_LINE,
        }
    }
}

/// A progress bar, or lines now and then.
#[derive(Debug)]
pub(crate) struct ProgressLine {
    what: &'static str,
    total: Option<u64>,
    /// `None` without a terminal.
    bar: Option<ProgressBar>,
    /// The position at which the next line is due.
    next_line: u64,
}

impl ProgressLine {
    /// How many steps between two lines, without a terminal.
    const STEPS_PER_LINE: u64 = 25_000;

    /// Says where it is.
    pub(crate) fn at(&mut self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            return;
        }
        if position >= self.next_line {
            match self.total {
                Some(total) => println!(
                    "   {}: {} of about {}",
                    self.what,
                    grouped(position),
                    grouped(total)
                ),
                None => println!("   {}: {}", self.what, grouped(position)),
            }
            self.next_line = position + Self::STEPS_PER_LINE;
        }
    }

    /// Tells something in between.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| println!("{text}")),
            None => println!("{text}"),
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A number with a comma before every third digit.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
