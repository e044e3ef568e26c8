//! The protocol as pure state machines, without I/O.
