//! The programs, run as a user runs them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, helpers included")]

mod appwrite;
mod programs;
mod readme;
mod two_devices;

use std::process::{Command, Output};

/// Runs a program to its end.
fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

/// What it printed, with everything in the message if it did not end with this exit code.
#[track_caller]
fn printed(output: &Output, exit_code: i32) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit_code), "{text}\n{errors}");
    text
}

/// The one line on the standard error of a program that ended with this exit code.
#[track_caller]
fn complaint(output: &Output, exit_code: i32) -> String {
    printed(output, exit_code);
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(errors.lines().count(), 1, "{errors}");
    errors
}
