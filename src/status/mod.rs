//! A running gateway as a terminal shows it: asked for its stats, which are read and drawn.

mod asking;
mod drawing;
mod paint;
mod view;

pub use asking::{Gateway, NoStats};
pub use drawing::{draw, draw_error, fit};
pub use paint::{Colour, Look};
pub use view::{Pace, View};
