//! A container against its neighbours on the network.
