//! The map in ARCHITECTURE.md: a table between two markers, drawn from the arrows and the sources.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use cargo_metadata::Package;

use super::map::ARROWS;

/// Panics with both where the table in `page` is not that of `packages`; `UPDATE=1` writes it there instead.
pub(crate) fn compare(page: &Path, packages: &[Package]) {
    let text = fs::read_to_string(page).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect(BEGIN);
    let (stands, tail) = rest.split_once(END).expect(END);
    let rooms = rooms(packages);
    if std::env::var_os("UPDATE").is_some() {
        let drawn = draw(&rooms, |room| room.hundreds());
        fs::write(page, format!("{head}{BEGIN}\n{drawn}{END}{tail}")).unwrap();
        return;
    }
    let drawn = draw(&rooms, |room| {
        hundreds_told(stands, &room.folder)
            .filter(|&told| is_about(told, room.hundreds()))
            .unwrap_or(room.hundreds())
    });
    assert!(
        stands.trim() == drawn.trim(),
        "{} shows another map than the code has; `UPDATE=1 cargo test -p integration --test arrows` draws it anew\n\
         it shows\n{stands}\nthe code has\n{drawn}",
        page.display()
    );
}

/// A crate in its folder.
struct Room {
    folder: String,
    /// The folders it may use.
    uses: Vec<String>,
    /// 0 for what uses none of ours; else one above the highest that it uses.
    floor: usize,
    /// Lines under its `src`.
    lines: usize,
}

impl Room {
    fn hundreds(&self) -> usize {
        (self.lines + 50) / 100
    }
}

/// The highest floor first.
fn rooms(packages: &[Package]) -> Vec<Room> {
    let folders: BTreeMap<&str, String> = packages
        .iter()
        .map(|package| (package.name.as_str(), folder(package)))
        .collect();
    let mut rooms: Vec<Room> = packages
        .iter()
        .map(|package| {
            let mut uses: Vec<String> = targets(&package.name)
                .map(|to| folders[to].clone())
                .collect();
            uses.sort();
            let source = package.manifest_path.parent().unwrap().join("src");
            Room {
                folder: folders[package.name.as_str()].clone(),
                uses,
                floor: floor(&package.name),
                lines: lines(source.as_std_path()),
            }
        })
        .collect();
    rooms.sort_by(|a, b| b.floor.cmp(&a.floor).then(a.folder.cmp(&b.folder)));
    rooms
}

/// Where a crate lies, from the workspace's folder.
fn folder(package: &Package) -> String {
    let folder = package.manifest_path.parent().unwrap().as_std_path();
    let folder = folder.strip_prefix(super::root()).unwrap();
    folder.to_str().unwrap().to_owned()
}

fn targets(name: &str) -> impl Iterator<Item = &'static str> {
    let arrows = ARROWS.iter().filter(move |arrow| arrow.0 == name);
    arrows.map(|arrow| arrow.1)
}

fn floor(name: &str) -> usize {
    targets(name).map(|to| floor(to) + 1).max().unwrap_or(0)
}

fn lines(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let counts = entries.map(|entry| {
        let path = entry.path();
        match path.extension() {
            _ if path.is_dir() => lines(&path),
            Some(extension) if extension == "rs" => {
                fs::read_to_string(&path).unwrap().lines().count()
            }
            _ => 0,
        }
    });
    counts.sum()
}

fn draw(rooms: &[Room], hundreds: impl Fn(&Room) -> usize) -> String {
    let mut text = "| floor | room | lines | may use |\n|---|---|--:|---|\n".to_owned();
    for room in rooms {
        let folder = &room.folder;
        let uses: Vec<String> = room.uses.iter().map(|to| format!("`{to}`")).collect();
        let uses = if uses.is_empty() {
            "nothing of ours".to_owned()
        } else {
            uses.join(", ")
        };
        let lines = hundreds(room) * 100;
        writeln!(text, "| {} | `{folder}` | {lines} | {uses} |", room.floor).unwrap();
    }
    text
}

/// What the table `stands` says of the lines in `folder`, in hundreds.
fn hundreds_told(stands: &str, folder: &str) -> Option<usize> {
    let cell = format!("`{folder}`");
    let row = stands.lines().map(|line| line.split('|').map(str::trim));
    let told: Option<usize> = row
        .filter_map(|mut cells| (cells.nth(2)? == cell).then(|| cells.next())?)
        .find_map(|lines| lines.parse().ok());
    told.map(|lines| lines / 100)
}

/// A number on a page may lag behind by a fifth, so that not every change to the code is one to the page.
fn is_about(told: usize, hundreds: usize) -> bool {
    told.abs_diff(hundreds) <= (told / 5).max(3)
}

#[test]
fn a_number_of_lines_may_lag_by_a_fifth() {
    let stands = "| 1 | `agent/core` | 5000 | nothing of ours |";
    assert_eq!(hundreds_told(stands, "agent/core"), Some(50));
    assert_eq!(hundreds_told(stands, "core"), None);
    assert!(is_about(50, 60) && is_about(50, 40) && is_about(2, 5));
    assert!(!is_about(50, 61) && !is_about(2, 6));
}

const BEGIN: &str = "<!-- arrows -->";
const END: &str = "<!-- end of arrows -->";
