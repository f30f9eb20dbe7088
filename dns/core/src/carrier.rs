//! What carries a message or a service.

/// What carries a DNS message, or what a published port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    Tcp,
    Udp,
}
