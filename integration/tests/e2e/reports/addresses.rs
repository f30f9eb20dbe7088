//! Addresses, routes and subnets.
