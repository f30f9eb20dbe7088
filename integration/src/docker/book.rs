//! What the plugin has to know of each network after a restart, and the agent does not: one small file each.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::fs;

use super::wire::Id;

/// A directory with a file per network of the engine, named by the engine's id.
#[derive(Clone, Debug)]
pub(super) struct Book {
    dir: PathBuf,
}

/// What is written of one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Page {
    /// The agent's network that it stands for; absent where the agent made one under the engine's id.
    pub(super) network: Option<String>,
    /// The engine that was seen to know it.
    pub(super) engine: Option<String>,
    /// Addresses that no container gets.
    pub(super) reserved: Vec<IpAddr>,
    /// Where ports are published that name no address.
    pub(super) host_ip: Option<IpAddr>,
    /// What containers call their links, without the number.
    pub(super) prefix: Option<String>,
}

impl Book {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The page of a network, empty where there is none: then the agent's network has the engine's id.
    pub(super) async fn page(&self, id: &Id) -> io::Result<Page> {
        Ok(self.find(id).await?.unwrap_or_default())
    }

    pub(super) async fn find(&self, id: &Id) -> io::Result<Option<Page>> {
        match fs::read(self.path(id)).await {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a page, in place of the one that was there. It is on the disk when this returns.
    pub(super) async fn write(&self, id: &Id, page: &Page) -> io::Result<()> {
        let text = serde_json::to_vec(page)?;
        let (dir, path) = (self.dir.clone(), self.path(id));
        let written = tokio::task::spawn_blocking(move || replace(&dir, &path, &text));
        written.await.map_err(io::Error::other)?
    }

    /// Tears a page out; gone already is as good.
    pub(super) async fn forget(&self, id: &Id) -> io::Result<()> {
        match fs::remove_file(self.path(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All pages, by the engine's ids. What cannot be read is left alone.
    pub(super) async fn pages(&self) -> io::Result<Vec<(Id, Page)>> {
        let mut files = match fs::read_dir(&self.dir).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        let mut pages = Vec::new();
        while let Some(file) = files.next_entry().await? {
            let Ok(id) = Id::try_from(file.file_name().to_string_lossy().into_owned()) else {
                continue;
            };
            if let Ok(Some(page)) = self.find(&id).await {
                pages.push((id, page));
            }
        }
        Ok(pages)
    }

    fn path(&self, id: &Id) -> PathBuf {
        self.dir.join(id.as_str())
    }
}

/// Either the old page is there after a crash, or the new one.
fn replace(dir: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    std::fs::create_dir_all(dir)?;
    let fresh = path.with_extension("new");
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_are_there_again_for_the_next_reader() {
        let dir = tempfile::tempdir().unwrap();
        let book = Book::new(dir.path().join("docker"));
        let id = Id::try_from("a".repeat(64)).unwrap();
        assert_eq!(book.pages().await.unwrap(), []);
        assert_eq!(book.page(&id).await.unwrap(), Page::default());
        let page = Page {
            network: Some("red".into()),
            reserved: vec![[10, 0, 0, 9].into()],
            ..Page::default()
        };
        book.write(&id, &page).await.unwrap();
        std::fs::write(dir.path().join("docker/other"), "not ours").unwrap();
        let book = Book::new(dir.path().join("docker"));
        assert_eq!(book.pages().await.unwrap(), [(id.clone(), page)]);
        book.forget(&id).await.unwrap();
        book.forget(&id).await.unwrap();
        assert_eq!(book.find(&id).await.unwrap(), None);
    }
}
