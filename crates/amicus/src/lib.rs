//! Private CNN inference with a friend: facade and command line.
