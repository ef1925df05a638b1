//! Release orders: one numbered run of a plan, as a pure state machine.
//!
//! [`Order::step`] takes an event and the time and gives the next state and what has to follow from it. There is no
//! clock, no IO and no async in here, so that whole releases can be replayed and simulated.

mod freeze;
mod gate;
mod health;
pub mod limits;
mod order;
mod refused;
mod sight;
mod step;
mod timeline;
mod waiting;

pub use freeze::Freeze;
pub use gate::{Approval, Approve, Approved, Awaited, Opening};
pub use health::{Fault, Health};
pub use order::{Order, Phase, Retention, ServiceState, Start};
pub use refused::Refused;
pub use sight::{Seen, Sight};
pub use step::{Effect, Event};
pub use timeline::{Actor, TimelineEntry};
pub use waiting::{Waiting, WaitsFor};
