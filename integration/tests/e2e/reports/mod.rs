//! What users and strangers' test suites reported, retold with the smallest input.

mod addresses;
mod agent;
mod api;
mod command_line;
mod datagrams;
mod dhcp;
mod lab;
mod names;
mod nested;
mod overlay;
mod patch;
mod publish;
mod recipes;
