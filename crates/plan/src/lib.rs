//! The plan: layers, shapes, scales, bounds and costs that every role reads.
