//! The stack, asked as clients ask a project.

#![allow(clippy::unwrap_used)]

mod api;
mod deviations;
mod faults;
mod project;
mod realtime;
mod sign_in;
