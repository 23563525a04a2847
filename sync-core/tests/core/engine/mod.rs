//! The engine over the memory store and the memory remote.

mod convergence;
mod driver;
mod link;
mod policies;
mod time;
mod timed;
mod world;
