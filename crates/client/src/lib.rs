//! Client and model owner as a library.
