//! Finding a lab's file and reading it.

use std::fs;
use std::path::{Path, PathBuf};

use super::engine::Runtime;
use super::fault::ReadLab;
use super::model::Lab;
use super::translate::{Environment, KATHARA, read};

/// Reads the lab that `path` leads to: a file, or a directory with one lab in it. `runtime` as in [`Environment`].
pub fn open(path: &Path, runtime: Option<Runtime>) -> Result<Lab, ReadLab> {
    let file = find(path)?;
    let wrong = |message: String| ReadLab::File {
        file: file.clone(),
        message,
    };
    let text = fs::read(&file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(text).map_err(|_| wrong("is no text in UTF-8".to_owned()))?;
    let whole = std::path::absolute(&file).map_err(|error| wrong(error.to_string()))?;
    let env = Environment {
        var: &|name| std::env::var(name).ok(),
        is_there: &Path::exists,
        runtime,
        dir: whole.parent().unwrap_or(&whole).to_owned(),
    };
    let mut lab = read(&file, &text, &env)?;
    lab.file = whole;
    Ok(lab)
}

fn find(path: &Path) -> Result<PathBuf, ReadLab> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let nothing = |message: String| ReadLab::File {
        file: path.to_owned(),
        message,
    };
    let kathara = path.join(KATHARA);
    if kathara.is_file() {
        return Ok(kathara);
    }
    let entries =
        fs::read_dir(path).map_err(|error| nothing(format!("cannot be read: {error}")))?;
    let names = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = names.filter(|path| is_containerlabs(path)).collect();
    files.sort();
    match &files[..] {
        [file] => Ok(file.clone()),
        [] => Err(nothing(
            "there is no *.clab.yml and no lab.conf in it; name the lab's file".to_owned(),
        )),
        [first, ..] => Err(nothing(format!(
            "it has {} labs; name one, as {}",
            files.len(),
            first.display()
        ))),
    }
}

fn is_containerlabs(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".clab.yml") || name.ends_with(".clab.yaml")
}
