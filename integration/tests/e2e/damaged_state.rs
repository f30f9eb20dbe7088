//! A state file that a disk has damaged, under the whole agent.

use std::fs;
use std::time::Duration;

use agent_api::Info;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Host, eventually};

#[test]
fn damaged_records_cost_themselves_and_everybody_is_told_with_what_to_do() {
    let host = Host::start();
    for name in ["lab", "other"] {
        host.tapestry(&["network", "create", name]).ok();
    }
    host.idle("kept", "lab", &[]);
    host.idle("peer", "lab", &[]);
    host.idle("lost", "lab", &["-e", "MARK=of-the-lost"]);
    host.stop_agent(Signal::TERM);
    damage(&host, b"\"name\":\"other\"");
    damage(&host, b"MARK=of-the-lost");
    host.launch();

    let names = host.networks().into_iter().map(|network| network.name);
    let names: Vec<_> = names.collect();
    assert!(names.contains(&"lab".into()) && !names.contains(&"other".into()));
    assert!(host.is_known("kept") && !host.is_known("lost"));
    host.exec("kept", &format!("ping -c 1 -w 5 {}", host.ipv4("peer")))
        .ok();
    let about = |what: &str| {
        let info: Info = host.api("GET", "/v1/info", None).ok();
        let mut warnings = info.warnings.into_iter();
        warnings.find(|warning| warning.contains(what))
    };
    let told = about("(called \"oth").expect("the network's record is told of");
    assert!(told.contains("make again what it was"), "{told}");
    let doctor = host.tapestry(&["doctor"]);
    assert!(doctor.stdout.contains("was damaged"), "{doctor:?}");

    // As they say.
    let told = about("not on record").expect("the command that still runs is told of");
    let pid = told.split("process ").nth(1).unwrap();
    let pid = pid.split(',').next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    host.tapestry(&["network", "create", "other"]).ok();
    fs::remove_dir_all(host.state_dir().join("damaged")).unwrap();
    eventually(Duration::from_secs(20), "nothing more is told", || {
        host.stop_agent(Signal::TERM);
        host.launch();
        let told = about("damaged").or_else(|| about("not on record"));
        told.is_none().then_some(())
    });
}

/// Flips a bit within each copy of `text` in the state file.
fn damage(host: &Host, text: &[u8]) {
    let path = host.state_dir().join("state.redb");
    let mut image = fs::read(&path).unwrap();
    let copies = (0..image.len() - text.len()).filter(|at| image[*at..].starts_with(text));
    let copies: Vec<_> = copies.collect();
    assert!(!copies.is_empty());
    for at in copies {
        image[at + text.len() - 2] ^= 1;
    }
    fs::write(path, image).unwrap();
}
