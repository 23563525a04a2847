//! The engine over the memory store and the memory remote.

mod convergence;
mod world;
