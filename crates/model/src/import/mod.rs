//! Networks from files, and the compiled file: everything of this crate that reads what others
//! wrote.

pub mod amc;
pub mod networks;
pub mod onnx;
