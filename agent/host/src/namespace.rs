//! Network namespace files: what they are, and whether two are the same.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;

pub use agent_core::record::NetnsId;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;
use rustix::fs::{Mode, OFlags, Stat, fstat, fstatfs};

/// An open network namespace file. The namespace lives at least as long as this.
#[derive(Debug)]
pub struct Netns {
    file: File,
    id: NetnsId,
    path: PathBuf,
}

/// The identity of the file that `path` leads to, which need not be a namespace. Opens nothing, so it is cheap.
pub fn netns_id(path: &Path) -> io::Result<NetnsId> {
    Ok(id_of(&rustix::fs::stat(path)?))
}

/// Why a path is no usable namespace.
#[derive(Debug, thiserror::Error)]
pub enum OpenNetns {
    #[error("cannot open network namespace {}: {source}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is not a namespace file; give one such as /run/netns/NAME or /proc/PID/ns/net", path.display())]
    NotANamespace { path: PathBuf },
}

/// Why no thread works inside a namespace.
#[derive(Debug, thiserror::Error)]
pub enum EnterNetns {
    #[error("{} is a namespace, but not a network namespace", path.display())]
    OtherKind { path: PathBuf },
    #[error("cannot enter network namespace {}: {source}", path.display())]
    Enter {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Netns {
    /// The namespace behind `path`, for example `/run/netns/h1` or `/proc/42/ns/net`.
    pub fn open(path: &Path) -> Result<Self, OpenNetns> {
        let failed = |source| OpenNetns::Open {
            path: path.to_owned(),
            source,
        };
        // Looked at before it is opened, because opening a FIFO blocks and opening a device may act; and looked at by
        // descriptor, because the path may change its meaning meanwhile.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let handle =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let filesystem = fstatfs(&handle).map_err(|errno| failed(errno.into()))?;
        if filesystem.f_type != NSFS_MAGIC {
            return Err(OpenNetns::NotANamespace {
                path: path.to_owned(),
            });
        }
        let itself = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let file = File::open(itself).map_err(failed)?;
        Self::from_file(file, path)
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, OpenNetns> {
        Self::open(Path::new(OWN))
    }

    /// A namespace file that came another way, for example from a peer's socket; `path` is for messages.
    pub fn from_file(file: File, path: &Path) -> Result<Self, OpenNetns> {
        let failed = |source: io::Error| OpenNetns::Open {
            path: path.to_owned(),
            source,
        };
        let filesystem = fstatfs(&file).map_err(|errno| failed(errno.into()))?;
        if filesystem.f_type != NSFS_MAGIC {
            return Err(OpenNetns::NotANamespace {
                path: path.to_owned(),
            });
        }
        let stat = fstat(&file).map_err(|errno| failed(errno.into()))?;
        Ok(Self {
            file,
            id: id_of(&stat),
            path: path.to_owned(),
        })
    }

    pub const fn id(&self) -> NetnsId {
        self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What no other namespace has, before or after this one.
    pub fn cookie(&self) -> io::Result<u64> {
        let inside = self.run(UnixDatagram::unbound).map_err(io::Error::other)?;
        Ok(getsockopt(&inside?, NetnsCookie)?)
    }

    /// Whether this is the namespace of the calling thread, which a sandbox must never be.
    pub fn is_own(&self) -> bool {
        netns_id(Path::new(OWN)).is_ok_and(|own| own == self.id)
    }

    /// Runs `work` on a throwaway thread inside the namespace; sockets it opens stay there.
    pub fn run<T, F>(&self, work: F) -> Result<T, EnterNetns>
    where
        T: Send,
        F: FnOnce() -> T + Send,
    {
        thread::scope(|scope| {
            let inside = thread::Builder::new()
                .name("netns".into())
                .spawn_scoped(scope, || self.enter().map(|()| work()))
                .map_err(|source| self.unentered(source))?;
            match inside.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn enter(&self) -> Result<(), EnterNetns> {
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
            Errno::EINVAL => EnterNetns::OtherKind {
                path: self.path.clone(),
            },
            errno => self.unentered(errno.into()),
        })
    }

    fn unentered(&self, source: io::Error) -> EnterNetns {
        EnterNetns::Enter {
            path: self.path.clone(),
            source,
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

const fn id_of(file: &Stat) -> NetnsId {
    NetnsId {
        device: file.st_dev,
        inode: file.st_ino,
    }
}

/// The cookie of the namespace that a socket belongs to: unlike an inode's number, the kernel gives it only once.
#[derive(Clone, Copy, Debug)]
struct NetnsCookie;

nix::getsockopt_impl!(
    NetnsCookie,
    libc::SOL_SOCKET,
    libc::SO_NETNS_COOKIE,
    u64,
    GetStruct<u64>
);

const OWN: &str = "/proc/thread-self/ns/net";
/// `NSFS_MAGIC` of linux/magic.h.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_one_namespace_have_its_cookie() {
        let cookie = || getsockopt(&UnixDatagram::unbound().unwrap(), NetnsCookie).unwrap();
        assert_ne!(cookie(), 0);
        assert_eq!(cookie(), cookie());
    }
}
