//! Networks in a box: a TCP proxy that delays and slows down what passes, so that a run on one
//! machine shows the times of a local or wide-area network. Nodes do not notice it; they dial the
//! proxy instead of the peer.
//!
//! The model of a line, for each direction of each connection separately: a byte that arrives at
//! time t leaves at `max(t, departure of the byte before) + 8 / rate` and is delivered `one_way`
//! later. Nothing is lost or reordered.

mod proxy;
mod shape;

pub use proxy::ShapedProxy;
pub use shape::{Shape, ShapeError};
