//! Release orders: one numbered run of a plan, as a pure state machine.
//!
//! [`Order::step`] takes an event and the time and gives the next state and what has to follow from it. There is no
//! clock, no IO and no async in here, so that whole releases can be replayed and simulated.

pub mod limits;
mod order;
mod refused;
mod step;
mod timeline;

pub use order::{Order, Phase, Seen, ServiceState, Start};
pub use refused::Refused;
pub use step::{Effect, Event};
pub use timeline::{Actor, TimelineEntry};
