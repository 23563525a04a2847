//! The engine over the memory store and the memory remote.

mod convergence;
mod driver;
mod limits;
mod link;
mod outbox;
mod policies;
mod time;
mod timed;
mod watching;
mod world;
mod writes;
