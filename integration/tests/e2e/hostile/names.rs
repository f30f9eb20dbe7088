//! A container against the name server.
