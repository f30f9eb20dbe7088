//! Datagrams arrive as they were sent, and what is lost is counted.
