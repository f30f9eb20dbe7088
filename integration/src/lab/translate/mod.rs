//! What a lab's file means. Pure: what there is on the host is asked through [`Environment`].

mod clab;
mod digest;
mod impairments;
mod kathara;
mod properties;
mod values;

use std::fmt;
use std::path::{Path, PathBuf};

use super::engine::Runtime;
use super::fault::ReadLab;
use super::model::Lab;
use super::wire;

pub(in crate::lab) use digest::digest;

/// What a lab's file may refer to.
pub struct Environment<'e> {
    /// Variables of whoever reads the file.
    pub var: &'e dyn Fn(&str) -> Option<String>,
    pub is_there: &'e dyn Fn(&Path) -> bool,
    /// What nodes with images run under; where absent, the file says it, or only those do that have no stand-in here.
    pub runtime: Option<Runtime>,
    /// Where the file is, an absolute path.
    pub dir: PathBuf,
}

/// Reads a lab's file, of which `text` is the content: Kathara's where it is called `lab.conf`, otherwise containerlab's.
pub fn read(file: &Path, text: &str, env: &Environment<'_>) -> Result<Lab, ReadLab> {
    let is_kathara = file.file_name().is_some_and(|name| name == KATHARA);
    let is_template = file.extension().is_some_and(|name| name == "gotmpl");
    if is_template {
        return Err(ReadLab::File {
            file: file.to_owned(),
            message: "Go templates are not taken; render the file first, as with gomplate"
                .to_owned(),
        });
    }
    if text.len() > SIZE_MAX {
        return Err(ReadLab::File {
            file: file.to_owned(),
            message: format!(
                "{} bytes are too many; a lab has at most {SIZE_MAX}",
                text.len()
            ),
        });
    }
    let lab = match is_kathara {
        true => wire::kathara::read(text).and_then(|conf| kathara::lab(file, conf, env)),
        false => wire::clab::read(text, env.var).and_then(|clab| clab::lab(file, clab, env)),
    };
    lab.map_err(|fault| fault.of(file))
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// What Kathara calls its file.
pub(in crate::lab) const KATHARA: &str = "lab.conf";
const SIZE_MAX: usize = 1 << 20;
