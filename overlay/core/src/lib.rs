//! The overlay: encapsulation headers and peer state machines, and no I/O.
