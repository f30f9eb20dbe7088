//! End to end: the real binary, real namespaces, real programs.
//!
//! One test binary, so that there is one to link. Every test needs root and makes its own hosts.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod agent;
mod bad_input;
mod capture;
mod cgroups;
mod chaos;
mod cluster;
mod cni;
mod csum;
mod damaged_state;
mod dns;
mod docker;
mod docker_words;
mod ends;
mod events;
mod firewalld;
mod flows;
mod frames;
mod full_disk;
mod guardian;
mod guards;
mod handed_over;
mod harness;
mod held;
mod hostile;
mod install;
mod isolation;
mod lab;
mod limits;
mod links;
mod metrics;
mod mininet;
mod multicast;
mod neighbours;
mod netavark;
mod openapi;
mod package;
mod packets;
mod privileges;
mod publish;
mod rates;
mod recall;
mod reports;
mod scale;
mod surprises;
mod terminal;
mod together;
mod trace;
mod ui;
mod uplinks;
mod vlans;
mod walkthrough;
