//! Training of networks with polynomial activations.
