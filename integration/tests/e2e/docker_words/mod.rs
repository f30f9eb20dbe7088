//! What somebody types who knows Docker's command line: it does the same here, or is told what to use.

mod networks;
mod ports;
mod restarts;
mod shown;

use crate::harness::Output;

#[track_caller]
fn one_line(output: &Output, thing: &str) {
    let told = output.stderr.trim_end();
    assert_eq!(told.lines().count(), 1, "{output:?}");
    assert!(told.contains(thing), "{thing:?} is not named: {output:?}");
    assert_ne!(output.status, 0, "{output:?}");
}
