//! A container, and a stranger on the underlay, against the tunnels.
