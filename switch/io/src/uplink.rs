//! A NIC of the host as a port of a network.
//!
//! # Theory of operation
//!
//! A packet socket on the NIC is a wire tapped at the plug: what arrives from the LAN is copied to us and goes to the host's kernel
//! as before; what we send leaves as if the host had sent it, and neither the host's kernel nor any tap like ours hears it.
//! So the NIC keeps its addresses, its routes and its place in the host. What it is asked for, to let other stations' frames
//! through, ends with the descriptor.
//!
//! Superframes and unfinished checksums pass whole in both directions. The kernel takes the outermost VLAN tag out of a frame
//! before a socket sees it; it is put back here, unless the port is one VLAN of the NIC: then its frames lose the tag on
//! their way in and get it on their way out, and no others pass.
//!
//! A [`Crossing`] decides what is for the network, and in whose name frames leave.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use switch_core::vlan::{Tag, TagProtocol, Vid};
use switch_core::{Crossing, CrossingRule, Mac, RawVnet, VnetHeader, ethertype};

use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};
use crate::sys::packet_wire::PacketWire;
use crate::tap::OffloadMask;

/// The network's end of a NIC. Clones are the same port.
#[derive(Clone, Debug)]
pub struct UplinkPort(Arc<Uplink>);

/// Which NIC, and as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UplinkWish {
    /// The NIC's index in the calling thread's network namespace.
    pub ifindex: u32,
    pub mac: Mac,
    /// The one VLAN of the NIC that the port is.
    pub vid: Option<Vid>,
    pub rule: CrossingRule,
}

#[derive(Debug)]
struct Uplink {
    wire: PacketWire,
    crossing: Crossing,
    vid: Option<Vid>,
    lost: AtomicU64,
    capabilities: Capabilities,
}

impl UplinkPort {
    /// Needs `CAP_NET_RAW`.
    pub fn open(wish: UplinkWish) -> io::Result<Self> {
        let wire = PacketWire::open(wish.ifindex)?;
        match wish.rule {
            CrossingRule::Open => wire.hear_all()?,
            CrossingRule::Stations => {
                wire.keep_out(wish.mac)?;
                wire.hear_groups()?;
            }
            CrossingRule::Translate { .. } => wire.hear_groups()?,
        }
        // Last: before, it would hear what it is not for.
        wire.plug()?;
        Ok(Self(Arc::new(Uplink {
            wire,
            crossing: Crossing::new(wish.rule, wish.mac),
            vid: wish.vid,
            lost: AtomicU64::new(0),
            capabilities: Capabilities {
                uso: OffloadMask::of_kernel().has_uso(),
                ..Capabilities::ALL
            },
        })))
    }

    pub(crate) fn ifindex(&self) -> u32 {
        self.0.wire.ifindex()
    }

    pub(crate) fn vid(&self) -> Option<Vid> {
        self.0.vid
    }

    pub fn crossing(&self) -> &Crossing {
        &self.0.crossing
    }

    /// Frames of the LAN for this station reach the network from now on.
    pub fn admit(&self, station: Mac, addresses: &[std::net::IpAddr]) -> io::Result<()> {
        let Uplink { wire, crossing, .. } = &*self.0;
        crossing.register(station, addresses);
        match crossing.rule() {
            // A NIC that cannot tell single stations apart hears all.
            CrossingRule::Stations => wire.hear(station).or_else(|_| wire.hear_all()),
            CrossingRule::Open | CrossingRule::Translate { .. } => Ok(()),
        }
    }

    /// Undoes [`Self::admit`].
    pub fn dismiss(&self, station: Mac) {
        let Uplink { wire, crossing, .. } = &*self.0;
        crossing.unregister(station);
        if crossing.rule() == CrossingRule::Stations {
            // One that hears all was never told of it.
            let _ = wire.unhear(station);
        }
    }

    /// The NIC has another MAC from now on.
    pub fn rename(&self, mac: Mac) -> io::Result<()> {
        self.0.crossing.set_nic(mac);
        match self.0.crossing.rule() {
            CrossingRule::Stations => self.0.wire.keep_out(mac),
            CrossingRule::Open | CrossingRule::Translate { .. } => Ok(()),
        }
    }
}

impl Uplink {
    /// Reads one frame that is for the network; `false` where the one that was read is not.
    fn read_one(&self, buffer: &mut FrameBuffer) -> io::Result<bool> {
        let arrival = self.wire.receive(buffer.space())?;
        let fits = arrival.len <= FrameBuffer::LEN - FrameBuffer::HEADROOM - Tag::LEN;
        if !fits || arrival.len < VnetHeader::LEN + ADDRESSES_LEN {
            return Ok(false);
        }
        buffer.set_len(arrival.len);
        match (self.vid, arrival.tag) {
            (Some(own), Some(tag)) if is_of(tag, own) => {}
            (Some(_), _) => return Ok(false),
            (None, Some(tag)) => buffer.push_tag(tag),
            (None, None) => {}
        }
        Ok(self
            .crossing
            .inward(&mut buffer.envelope_mut()[VnetHeader::LEN..]))
    }

    fn write_one(&self, envelope: &[u8]) -> io::Result<usize> {
        let Some((vnet, frame)) = envelope.split_at_checked(VnetHeader::LEN) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut head = [0; Crossing::HEAD_LEN_MAX];
        let raw = RawVnet::read(vnet);
        let is_open = raw.is_some_and(|raw| raw.open_checksum().is_some());
        let len = self.crossing.outward(frame, is_open, &mut head);
        let (head, rest) = (&head[..len], &frame[len..]);
        let (Some(vid), Some(raw)) = (self.vid, raw) else {
            return self.wire.send(&[vnet, head, rest]);
        };
        let tag = TagProtocol::Customer.tag(vid.get());
        let vnet = raw.tagged().to_bytes();
        let sent = match head.split_at_checked(ADDRESSES_LEN) {
            Some((addresses, head)) => self.wire.send(&[&vnet, addresses, &tag, head, rest]),
            None => {
                let (addresses, rest) = rest.split_at(ADDRESSES_LEN.min(rest.len()));
                self.wire.send(&[&vnet, addresses, &tag, rest])
            }
        };
        sent.map(|sent| sent.saturating_sub(Tag::LEN))
    }
}

impl FramePort for UplinkPort {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let mut count = 0;
        let mut strays = 0;
        while let Some(buffer) = buffers.get_mut(count) {
            match self.0.read_one(buffer) {
                Ok(true) => count += 1,
                Ok(false) if strays < STRAYS_MAX => strays += 1,
                Ok(false) => break,
                // The socket tells it once: the NIC is down, or has gone.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        match count {
            // More may wait, of which the descriptor tells.
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        let mut written = Written::default();
        for envelope in envelopes {
            written.count(envelope, self.0.write_one(envelope));
        }
        written
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.wire.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    fn unread(&self) -> u64 {
        let lost = self.0.wire.take_lost();
        self.0.lost.fetch_add(lost, Ordering::Relaxed) + lost
    }
}

pub(crate) fn is_of(tag: [u8; Tag::LEN], vid: Vid) -> bool {
    let [a, b, c, d] = tag;
    u16::from_be_bytes([a, b]) == ethertype::VLAN
        && u16::from_be_bytes([c, d]) & VID_MASK == vid.get()
}

const ADDRESSES_LEN: usize = 12;
const VID_MASK: u16 = 0x0fff;
/// Frames for nobody here that are read in a row.
const STRAYS_MAX: usize = 64;
