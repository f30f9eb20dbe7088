//! Capture of a port's frames as pcapng (IETF draft-ietf-opsawg-pcapng), readable by Wireshark and tcpdump while it grows.
//!
//! ```text
//! section header        interface description      enhanced packet, once a frame
//! +-------------------+ +------------------------+ +-----------------------------------------------------+
//! | 0x0A0D0D0A | 28   | | 1 | len | Ethernet     | | 6 | len | if 0 | time (ns) | captured | original     |
//! | 0x1A2B3C4D | 1.0  | | snap 0 | name, 10^-9 s | | frame, padded to 4 | epb_flags: 1 in, 2 out | end   |
//! | -1 | 28           | | end | len              | | len                                                 |
//! +-------------------+ +------------------------+ +-----------------------------------------------------+
//! ```

use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use switch_core::{Frame, PortId, VnetHeader, lock};

use crate::frame_port::{Capabilities, FrameBuffer, FramePort, Written};

/// A port whose frames are also written to a capture, in both directions, superframes whole and with the checksums
/// complete that their sender left open. When the capture cannot be written it ends; the frames flow on.
pub struct Pcap<P> {
    inner: P,
    capture: Mutex<Option<Capture>>,
}

impl<P: FramePort> Pcap<P> {
    /// Starts a capture of `inner` into `out`; `name` is shown as the interface.
    pub fn new(inner: P, name: &str, out: impl Write + Send + 'static) -> io::Result<Self> {
        let mut capture = Capture {
            out: Box::new(out),
            frame: Vec::new(),
            block: Vec::new(),
        };
        capture.begin(name)?;
        Ok(Self {
            inner,
            capture: Mutex::new(Some(capture)),
        })
    }

    fn record<'a>(&self, direction: Direction, envelopes: impl Iterator<Item = &'a [u8]>) {
        let mut capture = lock(&self.capture);
        let Some(open) = capture.as_mut() else {
            return;
        };
        if let Err(error) = open.record(direction, envelopes) {
            tracing::warn!(%error, "a capture ends early");
            *capture = None;
        }
    }
}

impl<P: FramePort> FramePort for Pcap<P> {
    fn read(&self, buffers: &mut [FrameBuffer]) -> io::Result<usize> {
        let count = self.inner.read(buffers)?;
        self.record(
            Direction::Inbound,
            buffers[..count].iter().map(FrameBuffer::envelope),
        );
        Ok(count)
    }

    fn write(&self, envelopes: &[&[u8]]) -> Written {
        self.record(Direction::Outbound, envelopes.iter().copied());
        self.inner.write(envelopes)
    }

    fn write_from(&self, ingress: PortId, envelopes: &[&[u8]]) -> Written {
        self.record(Direction::Outbound, envelopes.iter().copied());
        self.inner.write_from(ingress, envelopes)
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn tap(&self) -> Option<BorrowedFd<'_>> {
        self.inner.tap()
    }

    fn unread(&self) -> u64 {
        self.inner.unread()
    }

    fn attached(&self, id: PortId) {
        self.inner.attached(id);
    }

    fn settle(&self) {
        self.inner.settle();
    }

    fn holds(&self) -> bool {
        self.inner.holds()
    }
}

/// As the port sees it: inbound frames come from its station.
#[derive(Clone, Copy)]
enum Direction {
    Inbound = 1,
    Outbound = 2,
}

struct Capture {
    out: Box<dyn Write + Send>,
    frame: Vec<u8>,
    block: Vec<u8>,
}

impl Capture {
    fn begin(&mut self, name: &str) -> io::Result<()> {
        self.block.clear();
        self.words(&[BYTE_ORDER_MAGIC, VERSION_1_0, u32::MAX, u32::MAX]);
        self.write_block(SECTION_HEADER)?;
        self.words(&[LINKTYPE_ETHERNET, 0]);
        self.option(IF_NAME, name.as_bytes());
        self.option(IF_TSRESOL, &[NANOSECONDS]);
        self.words(&[END_OF_OPTIONS]);
        self.write_block(INTERFACE_DESCRIPTION)?;
        self.out.flush()
    }

    fn record<'a>(
        &mut self,
        direction: Direction,
        envelopes: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        for envelope in envelopes {
            self.packet(direction, nanos, envelope)?;
        }
        self.out.flush()
    }

    fn packet(&mut self, direction: Direction, nanos: u64, envelope: &[u8]) -> io::Result<()> {
        let Some((header, bytes)) = envelope.split_at_checked(VnetHeader::LEN) else {
            return Ok(());
        };
        self.frame.clear();
        self.frame.extend_from_slice(bytes);
        if let Some(vnet) = Frame::parse(bytes)
            .ok()
            .and_then(|frame| VnetHeader::validate(header, &frame).ok())
        {
            vnet.complete_checksum(&mut self.frame);
        }
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let [high, low] =
            [nanos >> 32, nanos & u64::from(u32::MAX)].map(|half| u32::try_from(half).unwrap_or(0));
        self.words(&[0, high, low, len, len]);
        self.block.extend_from_slice(&self.frame);
        self.pad();
        self.option(EPB_FLAGS, &(direction as u32).to_ne_bytes());
        self.words(&[END_OF_OPTIONS]);
        self.write_block(ENHANCED_PACKET)
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.block.extend_from_slice(&word.to_ne_bytes());
        }
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.block.extend_from_slice(&code.to_ne_bytes());
        self.block
            .extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_ne_bytes());
        self.block.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    /// Writes what was collected as a block and starts the next one.
    fn write_block(&mut self, kind: u32) -> io::Result<()> {
        let len = u32::try_from(self.block.len() + BLOCK_FRAME_LEN)
            .unwrap_or(u32::MAX)
            .to_ne_bytes();
        self.out.write_all(&kind.to_ne_bytes())?;
        self.out.write_all(&len)?;
        self.out.write_all(&self.block)?;
        self.out.write_all(&len)?;
        self.block.clear();
        Ok(())
    }
}

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
const VERSION_1_0: u32 = u32::from_ne_bytes({
    let [a, b] = 1_u16.to_ne_bytes();
    [a, b, 0, 0]
});
const INTERFACE_DESCRIPTION: u32 = 1;
const LINKTYPE_ETHERNET: u32 = u32::from_ne_bytes({
    let [a, b] = 1_u16.to_ne_bytes();
    [a, b, 0, 0]
});
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const NANOSECONDS: u8 = 9;
const ENHANCED_PACKET: u32 = 6;
const EPB_FLAGS: u16 = 2;
const END_OF_OPTIONS: u32 = 0;
/// Block type and both lengths.
const BLOCK_FRAME_LEN: usize = 12;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::channel_port::channel;
    use crate::samples::udp_envelope;

    #[test]
    fn tcpdump_reads_both_directions_with_complete_checksums() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (port, end) = channel(4, Capabilities::ALL).unwrap();
        let port = Pcap::new(port, "tap-test", file.reopen().unwrap()).unwrap();
        let envelope = udp_envelope(0);
        let (vnet, frame) = envelope.split_first_chunk().unwrap();
        end.send_with(vnet, frame);
        let mut buffers = [FrameBuffer::new()];
        assert_eq!(port.read(&mut buffers).unwrap(), 1);
        assert_eq!(port.write(&[buffers[0].envelope()]).frames, 1);
        assert_eq!(
            end.try_recv().unwrap().frame(),
            frame,
            "the frame itself is untouched"
        );

        let output = Command::new("tcpdump")
            .args(["-nvvr"])
            .arg(file.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            text.matches("10.0.0.1.1 > 10.0.0.2.2: [udp sum ok] UDP, length 4")
                .count(),
            2,
            "{text}"
        );
    }

    #[test]
    fn blocks_have_the_lengths_the_format_asks_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (port, _end) = channel(4, Capabilities::ALL).unwrap();
        let port = Pcap::new(port, "a", file.reopen().unwrap()).unwrap();
        port.write(&[&[0; VnetHeader::LEN + 61]]);
        let bytes = std::fs::read(file.path()).unwrap();
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut at = 0;
        let mut kinds = Vec::new();
        while at < bytes.len() {
            let len = usize::try_from(word(at + 4)).unwrap();
            assert_eq!(word(at + len - 4), word(at + 4));
            kinds.push(word(at));
            at += len;
        }
        assert_eq!(
            kinds,
            [SECTION_HEADER, INTERFACE_DESCRIPTION, ENHANCED_PACKET]
        );
    }

    #[test]
    fn a_capture_that_cannot_be_written_ends_and_frames_flow_on() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self
                    .0
                    .checked_sub(bytes.len())
                    .ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (port, _end) = channel(4, Capabilities::ALL).unwrap();
        let port = Pcap::new(port, "a", Full(100)).unwrap();
        for _ in 0..2 {
            assert_eq!(port.write(&[&[0; 70]]).frames, 1);
        }
    }
}
