//! A container against the packet filter.
