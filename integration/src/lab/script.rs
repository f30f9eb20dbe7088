//! What a node's first shell does.
//!
//! # Theory of operation
//!
//! A node is a container whose command is `/bin/sh -c SCRIPT`. When it starts, its links are there. The script does what the
//! file has the node do, says in the container's log that it is ready, and waits. So a node that is started again, by whomever
//! and whenever, has its addresses again, and nobody needs to be there for it. The line of the log is what `lab up` waits for.
//!
//! `/proc/sys` is write-protected in containers, and a node is there to have its kernel set: where there is a cover it is taken away. A command
//! that fails is told of, and the others go on, as containerlab does.

use std::fmt::Write as _;

/// What comes before how many of the tasks failed, in a node's log.
pub(in crate::lab) const READY: &str = "lab: ready; failed tasks: ";

/// The parts of a script, in the order in which they are done.
#[derive(Clone, Debug, Default)]
pub(in crate::lab) struct Program {
    /// Lines for the shell, before anything else.
    pub(in crate::lab) before: Vec<String>,
    /// What the container would be for: runs beside the tasks, and ends the node when it ends.
    pub(in crate::lab) main: Vec<String>,
    pub(in crate::lab) tasks: Vec<Task>,
    /// A line for the shell, at the node's end.
    pub(in crate::lab) at_end: Option<String>,
}

/// Something that may fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::lab) enum Task {
    /// A command and its arguments.
    Words(Vec<String>),
    /// A line for a shell of its own.
    Line(String),
}

impl Task {
    pub(in crate::lab) fn into_words(self) -> Vec<String> {
        match self {
            Self::Words(words) => words,
            Self::Line(line) => vec!["sh".to_owned(), "-c".to_owned(), line],
        }
    }
}

impl Program {
    pub(in crate::lab) fn script(&self) -> String {
        let mut script = String::from(HEAD);
        let at_end = self.at_end.as_deref().unwrap_or(":");
        let mut add = |line: &str| {
            // Writing to a String does not fail.
            let _ = writeln!(script, "{line}");
        };
        add(&format!("at_end() {{ {at_end}\nexit 0; }}"));
        add("trap at_end TERM INT");
        self.before.iter().for_each(|line| add(line));
        match self.main.is_empty() {
            true => add("sleep infinity &"),
            false => add(&format!("{} &", quoted(&self.main))),
        }
        add("main=$!");
        for task in &self.tasks {
            match task {
                Task::Words(words) => add(&format!("task {}", quoted(words))),
                Task::Line(line) => add(&format!("task sh -c {}", quote(line))),
            }
        }
        add(&format!("echo \"{READY}$failed\""));
        add("wait $main");
        script
    }
}

fn quoted(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

/// For the shell, as one word that means itself.
pub(in crate::lab) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

const HEAD: &str = "\
[ -w /proc/sys/net/ipv4/ip_forward ] || umount /proc/sys 2>/dev/null
failed=0
task() {
\"$@\" </dev/null
status=$?
[ $status = 0 ] && return
failed=$((failed + 1))
echo \"lab: exit status $status: $*\" >&2
}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &Program) -> (String, String) {
        let script = program.script().replace("umount /proc/sys", "echo a cover");
        let ran = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(ran.stdout), text(ran.stderr))
    }

    #[test]
    fn a_kernel_that_can_be_set_is_not_uncovered() {
        let settings = "/proc/sys/net/ipv4/ip_forward";
        let can_set = std::fs::File::options().write(true).open(settings).is_ok();
        let (out, _) = run(&Program {
            main: vec!["true".to_owned()],
            ..Program::default()
        });
        assert_eq!(out.contains("a cover"), !can_set, "{out}");
    }

    #[test]
    fn tasks_are_done_in_turn_and_failures_counted() {
        let words = |words: &[&str]| Task::Words(words.iter().map(|word| (*word).into()).collect());
        let (out, err) = run(&Program {
            before: vec!["x=before".into()],
            main: vec!["true".into()],
            tasks: vec![
                words(&["echo", "it's", "$x", "*"]),
                words(&["false"]),
                Task::Line("echo a; exit 3".into()),
            ],
            at_end: None,
        });
        assert_eq!(out, format!("it's $x *\na\n{READY}2\n"));
        assert_eq!(
            err,
            "lab: exit status 1: false\nlab: exit status 3: sh -c echo a; exit 3\n"
        );
    }

    #[test]
    fn a_node_ends_with_its_main_program() {
        let sleeper = Program {
            main: vec!["sh".into(), "-c".into(), "exit 0".into()],
            ..Program::default()
        };
        assert_eq!(run(&sleeper).0, format!("{READY}0\n"));
    }
}
