//! Helper and compute parties over channels: the loop over a plan's layers.
