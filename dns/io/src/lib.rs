//! Upstream name servers: the resolver behind the forwarder.
