//! Graphs of CNNs, compilation to a plan, and the exact integer simulator.
