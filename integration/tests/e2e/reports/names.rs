//! Names and the name server.
