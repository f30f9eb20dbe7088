//! How a superframe is to be cut.

/// How a superframe is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Gso {
    /// Not a superframe.
    #[default]
    None,
    /// TCP over IPv4, `size` bytes of payload a segment; `ecn`: only the first segment has CWR.
    TcpV4 { size: u16, ecn: bool },
    /// TCP over IPv6.
    TcpV6 { size: u16, ecn: bool },
    /// UDP over either, `size` bytes of payload a datagram (USO).
    Udp { size: u16 },
}

impl Gso {
    /// Payload bytes a segment; `None` for an ordinary frame.
    #[inline]
    pub const fn size(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::TcpV4 { size, .. } | Self::TcpV6 { size, .. } | Self::Udp { size } => Some(size),
        }
    }

    /// The vnet header's `gso_type`: a number, not a bit set, with the ECN bit beside it.
    #[inline]
    pub const fn type_byte(self) -> u8 {
        match self {
            Self::None => NONE,
            Self::TcpV4 { ecn, .. } => TCPV4 | ecn_bit(ecn),
            Self::TcpV6 { ecn, .. } => TCPV6 | ecn_bit(ecn),
            Self::Udp { .. } => UDP_L4,
        }
    }

    /// From `gso_type` and `gso_size`, which may be anything; `None` when the type is not one that is carried.
    #[inline]
    pub const fn from_type_byte(byte: u8, size: u16) -> Option<Self> {
        let ecn = byte & ECN != 0;
        match (byte & !ECN, ecn) {
            (NONE, false) => Some(Self::None),
            (TCPV4, _) => Some(Self::TcpV4 { size, ecn }),
            (TCPV6, _) => Some(Self::TcpV6 { size, ecn }),
            (UDP_L4, false) => Some(Self::Udp { size }),
            _ => None,
        }
    }
}

const fn ecn_bit(ecn: bool) -> u8 {
    if ecn { ECN } else { 0 }
}

const NONE: u8 = 0;
const TCPV4: u8 = 1;
const TCPV6: u8 = 4;
const UDP_L4: u8 = 5;
const ECN: u8 = 0x80;
