//! Whether a built program is that of the sources that are there now.
//!
//! Cargo writes `PROGRAM.d` beside each program: a makefile's rule that names every source it was built from. A new file
//! is one that an older one has named, so that looking at these is enough, and it needs no cargo.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "in a test, a panic is the report")
)]

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// Refuses in one line where `program` is missing, or where one of its sources was changed or taken away since.
///
/// Nothing is known of a program without a `.d` file, so that is refused too.
pub fn check(program: &Path) -> Result<(), String> {
    let shown = program.display();
    let advice = "build it with the profile of this program: cargo build [--release] -p tapestry";
    let Some(built) = changed_at(program) else {
        return Err(format!("{shown} is missing: {advice}"));
    };
    let Ok(rule) = fs::read_to_string(program.with_extension("d")) else {
        return Err(format!(
            "{shown} has no .d file, so nobody knows how old it is: {advice}"
        ));
    };
    let sources = sources(&rule);
    let newer = sources
        .iter()
        .find(|source| changed_at(Path::new(source)).is_none_or(|changed| changed > built));
    match newer {
        Some(source) => Err(format!("{shown} is older than {source}: {advice}")),
        None if sources.is_empty() => Err(format!("{shown} has an empty .d file: {advice}")),
        None => Ok(()),
    }
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// What stands behind the colon. A space in a path has a backslash before it.
fn sources(rule: &str) -> Vec<String> {
    let rule = rule.replace("\\ ", "\0");
    let behind = rule.split_once(": ").map_or("", |(_, behind)| behind);
    let paths = behind.split_whitespace();
    paths.map(|path| path.replace('\0', " ")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::PathBuf;
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;

    /// A program, and two sources that are a minute older.
    fn built() -> (TempDir, PathBuf, [PathBuf; 2]) {
        let dir = TempDir::new().unwrap();
        let program = dir.path().join("program");
        let sources = ["main.rs", "a part.rs"].map(|name| dir.path().join(name));
        let [main, part] = &sources;
        fs::write(&program, "").unwrap();
        for source in &sources {
            fs::write(source, "").unwrap();
            touch(source, -60);
        }
        let part = part.display().to_string().replace(' ', "\\ ");
        let rule = format!("{}: {} {part}\n", program.display(), main.display());
        fs::write(dir.path().join("program.d"), rule).unwrap();
        (dir, program, sources)
    }

    fn touch(path: &Path, ahead_s: i64) {
        let by = Duration::from_secs(ahead_s.unsigned_abs());
        let now = SystemTime::now();
        let time = if ahead_s < 0 { now - by } else { now + by };
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(time).unwrap();
    }

    #[test]
    fn a_program_newer_than_its_sources_is_taken() {
        let (_dir, program, _) = built();
        assert_eq!(check(&program), Ok(()));
    }

    #[test]
    fn a_program_is_refused_once_any_source_has_changed() {
        for changed in 0..2 {
            let (_dir, program, sources) = built();
            touch(&sources[changed], 60);
            let refusal = check(&program).unwrap_err();
            let source = sources[changed].display().to_string();
            assert!(
                refusal.contains(&format!("older than {source}:")),
                "{refusal}"
            );
            assert!(!refusal.contains('\n'), "{refusal}");
        }
    }

    #[test]
    fn a_program_is_refused_once_a_source_has_gone() {
        let (_dir, program, sources) = built();
        fs::remove_file(&sources[1]).unwrap();
        assert!(check(&program).unwrap_err().contains("a part.rs"));
    }

    #[test]
    fn a_program_of_unknown_age_is_refused() {
        let (dir, program, _) = built();
        fs::write(dir.path().join("program.d"), "").unwrap();
        assert!(check(&program).unwrap_err().contains("empty .d file"));
        fs::remove_file(dir.path().join("program.d")).unwrap();
        assert!(check(&program).unwrap_err().contains("no .d file"));
        fs::remove_file(&program).unwrap();
        assert!(check(&program).unwrap_err().contains("is missing"));
    }
}
