//! The line between the guardian and the agent: short messages, each with at most one descriptor.
//!
//! A message is one datagram of a SOCK_SEQPACKET pair: a verb of one byte, then text. Descriptors travel beside it (unix(7),
//! `SCM_RIGHTS`). Both ends are the same binary, and nobody else has the socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// One end.
#[derive(Debug)]
pub(super) struct Line(OwnedFd);

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// The agent has read its configuration, and could begin.
    Prepared,
    /// A descriptor, by its name: to the guardian to hold, or back to an agent that begins.
    Hold,
    /// The guardian shall let go of the descriptor with that name; it says the same back when it has.
    Release,
    /// All descriptors have been said; the text is [`Deaths`](super::deaths::Deaths).
    Begin,
    /// The same to an agent that begins beside another, which is to end soon.
    Follow,
    /// One that follows another has attached every link, and could read them.
    Attached,
    /// Nobody else reads the links any more.
    Read,
    /// One that follows another forwards.
    Forwarding,
    /// The other one has ended.
    Alone,
    /// The agent answers.
    Ready,
    /// The agent ends, since it was told to.
    Stopping,
    /// The agent shall act no more, but go on forwarding; it says the same back when nothing of its acts is left to do.
    Rest,
    /// It shall read no link any more; it says the same back when what it has read is sent.
    Pause,
    /// It shall read and act again: nobody followed it.
    Resume,
    /// It shall take in what is still on its way to it, and end.
    Leave,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) verb: Verb,
    pub(super) text: String,
    pub(super) fd: Option<OwnedFd>,
}

impl Line {
    /// Both ends; they block.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(near), Self(far)))
    }

    pub(super) fn of(end: OwnedFd) -> Self {
        Self(end)
    }

    pub(super) fn into_end(self) -> OwnedFd {
        self.0
    }

    pub(super) fn send(
        &self,
        verb: Verb,
        text: &str,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let letter = [verb.letter()];
        let parts = [IoSlice::new(&letter), IoSlice::new(text.as_bytes())];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = fd.into_iter().collect();
        if !fds.is_empty() {
            beside.push(SendAncillaryMessage::ScmRights(&fds));
        }
        sendmsg(&self.0, &parts, &mut beside, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The same where the other end reads, but not as fast as it is told.
    pub(super) fn send_patiently(
        &self,
        verb: Verb,
        text: &str,
        fd: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        loop {
            match self.send(verb, text, fd) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut ends = [PollFd::new(&self.0, PollFlags::OUT)];
                    if poll(&mut ends, Some(&PATIENCE))? == 0 {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                sent => return sent,
            }
        }
    }

    /// `None` when the other end is closed.
    pub(super) fn receive(&self) -> io::Result<Option<Message>> {
        let mut bytes = [0u8; 1 + TEXT_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let fd = beside.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let Some((letter, text)) = bytes[..received.bytes].split_first() else {
            return Ok(None);
        };
        let verb = Verb::of(*letter).ok_or(io::ErrorKind::InvalidData)?;
        let text = String::from_utf8_lossy(text).into_owned();
        Ok(Some(Message { verb, text, fd }))
    }
}

/// An end that is waited for.
#[derive(Debug)]
pub(super) struct Hearing {
    pub(super) line: Line,
    /// It stands for readiness alone: messages keep their bounds whatever the socket is taken for.
    ready: UnixStream,
}

impl Hearing {
    /// Must be called in a runtime.
    pub(super) fn of(line: Line) -> io::Result<Self> {
        let ready = StdUnixStream::from(line.0.try_clone()?);
        ready.set_nonblocking(true)?;
        let ready = UnixStream::from_std(ready)?;
        Ok(Self { line, ready })
    }

    /// `None` when the line is closed, or useless.
    pub(super) async fn next(&self) -> Option<Message> {
        let heard = self
            .ready
            .async_io(Interest::READABLE, || self.line.receive());
        heard.await.unwrap_or_default()
    }
}

impl Verb {
    const ALL: [Self; 15] = [
        Self::Prepared,
        Self::Hold,
        Self::Release,
        Self::Begin,
        Self::Follow,
        Self::Attached,
        Self::Read,
        Self::Forwarding,
        Self::Alone,
        Self::Ready,
        Self::Stopping,
        Self::Rest,
        Self::Pause,
        Self::Resume,
        Self::Leave,
    ];

    /// A guardian and an agent may be of different versions, so these stay what they are.
    const fn letter(self) -> u8 {
        match self {
            Self::Prepared => b'p',
            Self::Hold => b'h',
            Self::Release => b'r',
            Self::Begin => b'b',
            Self::Follow => b'f',
            Self::Attached => b'd',
            Self::Read => b'e',
            Self::Forwarding => b'w',
            Self::Alone => b'a',
            Self::Ready => b'y',
            Self::Stopping => b's',
            Self::Rest => b't',
            Self::Pause => b'q',
            Self::Resume => b'u',
            Self::Leave => b'l',
        }
    }

    fn of(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.letter() == letter)
    }
}

/// With an agent that reads nothing.
const PATIENCE: Timespec = Timespec {
    tv_sec: 5,
    tv_nsec: 0,
};
/// Of names, and of how a process ended; more is cut.
const TEXT_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptor() {
        let (near, far) = Line::pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        near.send(Verb::Hold, "tap/1", Some(writer.as_fd()))
            .unwrap();
        near.send(Verb::Ready, "", None).unwrap();
        drop((near, writer));
        let held = far.receive().unwrap().unwrap();
        assert_eq!((held.verb, held.text.as_str()), (Verb::Hold, "tap/1"));
        rustix::io::write(held.fd.unwrap(), b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(reader, &mut byte).unwrap(), 1);
        let ready = far.receive().unwrap().unwrap();
        assert_eq!((ready.verb, ready.fd.is_none()), (Verb::Ready, true));
        assert!(far.receive().unwrap().is_none(), "the other end is closed");
    }

    #[test]
    fn every_verb_has_a_letter_of_its_own() {
        for verb in Verb::ALL {
            assert_eq!(Verb::of(verb.letter()), Some(verb));
        }
    }
}
