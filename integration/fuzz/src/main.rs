//! Moves inputs between the corpus and the folders that the fuzzer works on, a file per input there.
//!
//! `corpus list`, `corpus unpack TARGET FOLDER`, `corpus pack TARGET FOLDER`, `corpus show FILE`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use fuzz::corpus::{self, Input};
use fuzz::{TARGETS, target};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["list"] => {
            TARGETS
                .iter()
                .for_each(|target| println!("{} {}", target.name, target.length_max));
            Ok(())
        }
        ["unpack", name, folder] => unpack(name, Path::new(folder)),
        ["pack", name, folder] => pack(name, Path::new(folder)),
        ["show", file] => fs::read(file).map(|bytes| println!("{}", corpus::encode(&bytes))),
        _ => Err(io::Error::other(
            "write: corpus list | unpack TARGET FOLDER | pack TARGET FOLDER | show FILE",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corpus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every stored input as a file, and the target's words as libFuzzer's dictionary beside the folder.
fn unpack(name: &str, folder: &Path) -> io::Result<()> {
    let target = target(name).ok_or_else(|| io::Error::other(format!("no target {name}")))?;
    fs::create_dir_all(folder)?;
    for (number, input) in corpus::read(name)?.iter().enumerate() {
        fs::write(folder.join(format!("stored-{number:04}")), &input.bytes)?;
    }
    let words = target.words.iter().map(|word| {
        let word: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("\"{word}\"\n")
    });
    fs::write(folder.with_extension("dict"), words.collect::<String>())
}

/// Those of the corpus that have a name, and beside them what is in the folder, the shortest inputs first, as far as a file that
/// people read has room.
fn pack(name: &str, folder: &Path) -> io::Result<()> {
    let mut inputs = corpus::read(name)?;
    inputs.retain(|input| input.says.is_some());
    let named: BTreeSet<&Vec<u8>> = inputs.iter().map(|input| &input.bytes).collect();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let bytes = fs::read(entry?.path())?;
        if !named.contains(&bytes) {
            found.push(Input { says: None, bytes });
        }
    }
    found.sort_by_key(|input| (input.bytes.len(), input.bytes.clone()));
    let mut room = FOUND_BYTES_MAX;
    inputs.extend(found.into_iter().take_while(|input| {
        let left = room.checked_sub(input.bytes.len());
        room = left.unwrap_or(0);
        left.is_some()
    }));
    corpus::write(name, &inputs)
}

/// What was found of one target, in bytes.
const FOUND_BYTES_MAX: usize = 8 * 1024;
