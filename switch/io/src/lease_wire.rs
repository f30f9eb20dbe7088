//! What a DHCP client hears and says on a NIC.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use switch_core::VnetHeader;

use crate::frame_port::FramePort;
use crate::sys::packet_wire::PacketWire;
use crate::uplink::{UplinkPort, is_of};

/// Hears what DHCP servers say on the LAN of an uplink, and sends as that does.
#[derive(Debug)]
pub struct LeaseWire {
    wire: PacketWire,
    uplink: UplinkPort,
    buffer: Vec<u8>,
}

impl LeaseWire {
    pub fn open(uplink: &UplinkPort) -> io::Result<Self> {
        let wire = PacketWire::open(uplink.ifindex())?;
        wire.hear_leases_alone()?;
        wire.plug()?;
        Ok(Self {
            wire,
            uplink: uplink.clone(),
            buffer: vec![0; BUFFER_LEN],
        })
    }

    /// The next frame; nothing where none waits.
    pub fn receive(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            let arrival = match self.wire.receive(&mut self.buffer) {
                Ok(arrival) => arrival,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            };
            let is_own = match (self.uplink.vid(), arrival.tag) {
                (Some(own), Some(tag)) => is_of(tag, own),
                (own, tag) => own.is_none() && tag.is_none(),
            };
            if is_own && (VnetHeader::LEN..=BUFFER_LEN).contains(&arrival.len) {
                return Ok(Some(&self.buffer[VnetHeader::LEN..arrival.len]));
            }
        }
    }

    /// What is lost is said again.
    pub fn send(&self, frame: &[u8]) {
        let envelope = [&VnetHeader::NONE.to_bytes()[..], frame].concat();
        self.uplink.write(&[&envelope]);
    }
}

impl AsFd for LeaseWire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wire.as_fd()
    }
}

impl AsRawFd for LeaseWire {
    fn as_raw_fd(&self) -> RawFd {
        self.wire.as_fd().as_raw_fd()
    }
}

const BUFFER_LEN: usize = 2_048;
