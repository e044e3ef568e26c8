//! From a network as it was trained to one that a plan can hold, still with real numbers.

pub mod approximate;
pub mod check;
pub mod equalise;
pub mod fit;
pub mod fold;
pub mod function;
pub mod pieces;
pub mod prepare;
