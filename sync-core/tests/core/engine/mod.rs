//! The engine over the memory store and the memory remote.

mod builder;
mod conflicts;
mod convergence;
mod cursor;
mod deletes;
mod driver;
mod exactly_once;
mod hooks;
mod in_flight;
mod lab;
mod limits;
mod link;
mod order;
mod outbox;
mod policies;
mod schema;
mod simulation;
mod status;
mod steps;
mod time;
mod timed;
mod watching;
mod world;
mod writes;
