//! Harness of n parties, malicious parties and test vectors.
