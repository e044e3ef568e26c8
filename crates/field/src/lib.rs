//! Arithmetic modulo 52-bit primes: limb vectors, sampling, matrix products and convolutions.
