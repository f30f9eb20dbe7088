//! Between shim and init: a packet socket, which is init's standard input.
//!
//! The shim sends one task (as a memory file, since a command line may be megabytes) with the descriptors it needs, gets
//! [`Reply::Prepared`] back, and later sends an empty word to start. That the command was executed shows as the end of
//! the socket, which closes on exec; what prevented it comes as [`Reply::Failed`].

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::spec::{Bind, ProcessSpec};

/// What an init process is for. Descriptors follow in the order of the fields' comments.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Make a user namespace and hold it, until the shim has it.
    HoldUsers,
    Container(ContainerTask),
    Exec(ExecTask),
}

/// Descriptors: standard input, output and error unless `tty`; the root's mount if `own_root` is not `private_root`; device mounts if
/// `own_root`, one per entry of `devices`; file mounts, one per entry of `etc`; mounts, one per entry of `binds`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ContainerTask {
    pub(crate) process: ProcessSpec,
    pub(crate) hostname: String,
    pub(crate) new_network: bool,
    /// The network namespace is not the host's, so `/sys` has to show another.
    pub(crate) new_sys: bool,
    pub(crate) own_root: bool,
    /// That root is an overlay over the host's files, which init makes, with copies of these directories' content.
    pub(crate) private_root: bool,
    pub(crate) copies: Vec<PathBuf>,
    pub(crate) binds: Vec<Bind>,
    /// Nothing is covered or protected.
    pub(crate) privileged: bool,
    /// Directories, as the container names them, that it sees empty.
    pub(crate) hidden: Vec<PathBuf>,
    pub(crate) devices: Vec<String>,
    pub(crate) etc: Vec<String>,
}

/// Descriptors: standard input, output and error unless `tty`; a pidfd of the container's init.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExecTask {
    pub(crate) process: ProcessSpec,
    /// `CLONE_NEW*` of the namespaces to join.
    pub(crate) namespaces: i32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// Descriptors: the terminal's two ends, shim's first, if `tty`.
    Prepared,
    Failed {
        code: u8,
        text: String,
    },
}

/// One end of the socket.
#[derive(Debug)]
pub(crate) struct Control(OwnedFd);

impl Control {
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(ours), theirs))
    }

    /// Has [`Self::receive`] fail where nothing comes for so long.
    pub(crate) fn limit_waits(&self, limit: Duration) -> io::Result<()> {
        Ok(set_socket_timeout(&self.0, Timeout::Recv, Some(limit))?)
    }

    pub(crate) fn from_stdin() -> io::Result<Self> {
        Ok(Self(io::stdin().as_fd().try_clone_to_owned()?))
    }

    pub(crate) fn send_task(&self, task: &Task, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut file = File::from(memfd_create("task", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(task)?)?;
        file.seek(SeekFrom::Start(0))?;
        let mut all = vec![file.as_fd()];
        all.extend_from_slice(fds);
        self.send(b"task", &all)
    }

    pub(crate) fn receive_task(&self) -> io::Result<(Task, Vec<OwnedFd>)> {
        let closed = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (_, fds) = self.receive()?.ok_or_else(closed)?;
        let mut fds = fds.into_iter();
        let mut text = Vec::new();
        File::from(fds.next().ok_or_else(closed)?).read_to_end(&mut text)?;
        Ok((parse(&text)?, fds.collect()))
    }

    pub(crate) fn send_reply(&self, reply: &Reply, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send(&serde_json::to_vec(reply)?, fds)
    }

    /// `None` when the other side is gone.
    pub(crate) fn receive_reply(&self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        match self.receive()? {
            Some((text, fds)) => Ok(Some((parse(&text)?, fds))),
            None => Ok(None),
        }
    }

    pub(crate) fn send_start(&self) -> io::Result<()> {
        self.send(b"start", &[])
    }

    /// Waits for the word to start; `false` when the shim is gone.
    pub(crate) fn receive_start(&self) -> io::Result<bool> {
        Ok(self.receive()?.is_some())
    }

    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        sendmsg(
            &self.0,
            &[IoSlice::new(bytes)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// A message and its descriptors; `None` when the other side is gone.
    pub(crate) fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = vec![0; MAX_REPLY];
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        let length = match received {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(error) => return Err(error.into()),
        };
        if length == 0 {
            return Ok(None);
        }
        bytes.truncate(length);
        let fds = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        Ok(Some((bytes, fds)))
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    serde_json::from_slice(text).map_err(io::Error::from)
}

const MAX_FDS: usize = 24;
const MAX_REPLY: usize = 16 * 1024;
