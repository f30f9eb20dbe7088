//! Writing again what may not have reached the disk.
//!
//! After an fsync(2) that failed, Linux takes the pages for clean and has them in memory all the same: they read as written,
//! and the next fsync(2) says nothing of them. So before a file is trusted again all of it is written once more, as it reads.
//! That changes no byte that is on the disk already, and needs no more room than the file has.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

pub(super) fn write_back(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    // Holes stay holes.
    while let Some(data) = next(&file, SeekFrom::Data(at))? {
        let hole = next(&file, SeekFrom::Hole(data))?.unwrap_or(data);
        at = data;
        while at < hole {
            let wanted = usize::try_from(hole - at).unwrap_or(CHUNK).min(CHUNK);
            let read = file.read_at(&mut chunk[..wanted], at)?;
            if read == 0 {
                break;
            }
            file.write_all_at(&chunk[..read], at)?;
            at += read as u64;
        }
        at = hole;
    }
    file.sync_all()
}

/// None behind the last data.
fn next(file: &File, from: SeekFrom) -> io::Result<Option<u64>> {
    match seek(file, from) {
        Ok(at) => Ok(Some(at)),
        Err(Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn all_of_a_file_is_written_as_it_was_and_its_holes_stay() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let written = [(5, 3), (1 << 20, 200_000), (9 << 20, 1)];
        for (at, length) in written {
            let bytes = vec![7; length];
            file.as_file().write_all_at(&bytes, at).unwrap();
        }
        file.as_file().set_len(16 << 20).unwrap();
        let look = || {
            let blocks = file.as_file().metadata().unwrap().blocks();
            (blocks, std::fs::read(file.path()).unwrap())
        };
        file.as_file().sync_all().unwrap();
        let before = look();
        write_back(file.path()).unwrap();
        assert!(look() == before);
    }
}
