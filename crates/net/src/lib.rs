//! Framed channels between the roles: mutual TLS, in memory, shaped.
