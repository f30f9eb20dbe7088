//! A NIC as frames with vnet headers go through it (packet(7), `PACKET_VNET_HDR`).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use switch_core::Mac;

use super::packet_socket::{attach, bind, set, socket};

/// Sees every frame that arrives at a link, and none that leaves it. What it asks the link to let through ends with it.
#[derive(Debug)]
pub(crate) struct PacketWire {
    fd: OwnedFd,
    index: i32,
}

/// What one read brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Bytes of the envelope; more than the space where it did not fit.
    pub(crate) len: usize,
    /// The VLAN tag that the kernel took out of the frame, in wire order.
    pub(crate) tag: Option<[u8; 4]>,
}

impl PacketWire {
    /// The link with that index in the network namespace of the calling thread. Nothing comes before [`Self::plug`].
    pub(crate) fn open(index: u32) -> io::Result<Self> {
        let fd = socket(libc::SOCK_NONBLOCK)?;
        for option in [
            libc::PACKET_VNET_HDR,
            libc::PACKET_AUXDATA,
            libc::PACKET_IGNORE_OUTGOING,
        ] {
            set(&fd, libc::SOL_PACKET, option, &1_i32)?;
        }
        for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
            set(&fd, libc::SOL_SOCKET, option, &BUFFER_LEN)?;
        }
        let index = i32::try_from(index).map_err(io::Error::other)?;
        Ok(Self { fd, index })
    }

    /// Keeps out what is for this MAC: the kernel has it, and nobody here wants it.
    pub(crate) fn keep_out(&self, mac: Mac) -> io::Result<()> {
        let [a, b, c, d, e, f] = mac.octets();
        let filter = [
            load(libc::BPF_W, 0),
            unless(u32::from_be_bytes([a, b, c, d]), 3),
            load(libc::BPF_H, 4),
            unless(u32::from_be_bytes([0, 0, e, f]), 1),
            give(0),
            give(u32::MAX),
        ];
        attach(&self.fd, &filter)
    }

    /// Lets in nothing but datagrams for DHCP clients.
    pub(crate) fn hear_leases_alone(&self) -> io::Result<()> {
        // Ethertype, protocol, and the destination behind a header without options, which servers do not send.
        let filter = [
            load(libc::BPF_H, 12),
            unless(0x0800, 5),
            load(libc::BPF_B, 23),
            unless(17, 3),
            load(libc::BPF_H, 36),
            unless(68, 1),
            give(u32::MAX),
            give(0),
        ];
        attach(&self.fd, &filter)
    }

    pub(crate) fn ifindex(&self) -> u32 {
        u32::try_from(self.index).unwrap_or(0)
    }

    /// Receives from here on.
    pub(crate) fn plug(&self) -> io::Result<()> {
        bind(&self.fd, self.ifindex())
    }

    /// Lets through what is for every group.
    pub(crate) fn hear_groups(&self) -> io::Result<()> {
        self.member(libc::PACKET_ADD_MEMBERSHIP, libc::PACKET_MR_ALLMULTI, &[])
    }

    /// Lets through what is for anybody.
    pub(crate) fn hear_all(&self) -> io::Result<()> {
        self.member(libc::PACKET_ADD_MEMBERSHIP, libc::PACKET_MR_PROMISC, &[])
    }

    /// Lets through what is for this station.
    pub(crate) fn hear(&self, station: Mac) -> io::Result<()> {
        let mac = station.octets();
        self.member(libc::PACKET_ADD_MEMBERSHIP, libc::PACKET_MR_UNICAST, &mac)
    }

    /// Undoes [`Self::hear`].
    pub(crate) fn unhear(&self, station: Mac) -> io::Result<()> {
        let mac = station.octets();
        self.member(libc::PACKET_DROP_MEMBERSHIP, libc::PACKET_MR_UNICAST, &mac)
    }

    fn member(&self, what: libc::c_int, kind: libc::c_int, mac: &[u8]) -> io::Result<()> {
        let mut address = [0; 8];
        address[..mac.len()].copy_from_slice(mac);
        let request = libc::packet_mreq {
            mr_ifindex: self.index,
            mr_type: u16::try_from(kind).map_err(io::Error::other)?,
            mr_alen: u16::try_from(mac.len()).map_err(io::Error::other)?,
            mr_address: address,
        };
        set(&self.fd, libc::SOL_PACKET, what, &request)
    }

    /// Reads one envelope into `space`.
    pub(crate) fn receive(&self, space: &mut [u8]) -> io::Result<Arrival> {
        // `u64`s, so that the control messages are aligned.
        let mut control = [0_u64; 8];
        let mut vector = libc::iovec {
            iov_base: space.as_mut_ptr().cast(),
            iov_len: space.len(),
        };
        // SAFETY: all zeros is a valid `msghdr`: null pointers with zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `header` describes a live buffer of the stated length.
        let len = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut header, libc::MSG_TRUNC) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        Ok(Arrival {
            len,
            tag: stripped_tag(&header),
        })
    }

    /// Sends one envelope, in pieces.
    pub(crate) fn send(&self, pieces: &[&[u8]]) -> io::Result<usize> {
        let mut vectors = [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; PIECES_MAX];
        let count = pieces.len().min(PIECES_MAX);
        for (vector, piece) in vectors.iter_mut().zip(pieces) {
            vector.iov_base = piece.as_ptr().cast_mut().cast();
            vector.iov_len = piece.len();
        }
        // SAFETY: all zeros is a valid `msghdr`: null pointers with zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = vectors.as_mut_ptr();
        header.msg_iovlen = count;
        // SAFETY: the vectors describe `pieces`, which outlive the call and are only read.
        let sent = unsafe { libc::sendmsg(self.fd.as_raw_fd(), &raw const header, 0) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Frames that found no room since this was last asked.
    pub(crate) fn take_lost(&self) -> u64 {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut len = libc::socklen_t::try_from(size_of::<libc::tpacket_stats>()).unwrap_or(0);
        // SAFETY: pointer and length describe `statistics`, which outlives the call.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut len,
            )
        };
        if result < 0 {
            return 0;
        }
        u64::from(statistics.tp_drops)
    }
}

impl AsFd for PacketWire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The VLAN tag that the kernel took out of the frame, in wire order.
pub(super) fn stripped_tag(header: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: recvmsg filled `header`; its control buffer is still alive.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: not null, so it points at a whole control message header inside the control buffer.
        let message = unsafe { &*next };
        if message.cmsg_level == libc::SOL_PACKET && message.cmsg_type == libc::PACKET_AUXDATA {
            // SAFETY: a message of this type carries a `tpacket_auxdata`; its alignment is not promised.
            let aux: libc::tpacket_auxdata = unsafe {
                libc::CMSG_DATA(next)
                    .cast::<libc::tpacket_auxdata>()
                    .read_unaligned()
            };
            if aux.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
                return None;
            }
            let [a, b] = aux.tp_vlan_tpid.to_be_bytes();
            let [c, d] = aux.tp_vlan_tci.to_be_bytes();
            return Some([a, b, c, d]);
        }
        // SAFETY: `next` came from the same header.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    None
}

#[allow(clippy::cast_possible_truncation, reason = "codes have eight bits")]
const fn load(width: u32, at: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_LD | width | libc::BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: at,
    }
}

/// Goes on where what was loaded is `value`, and `over` instructions further where not.
#[allow(clippy::cast_possible_truncation, reason = "codes have eight bits")]
const fn unless(value: u32, over: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: 0,
        jf: over,
        k: value,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "codes have eight bits")]
const fn give(len: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: len,
    }
}

/// Some fifty superframes each way: a socket's own default holds two.
const BUFFER_LEN: libc::c_int = 8 << 20;
/// Vnet header, addresses, tag, what is rewritten, the rest.
const PIECES_MAX: usize = 5;
