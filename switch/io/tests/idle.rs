//! What a switch costs that has nothing to do. A process of its own, whose CPU time is the switch's alone.
#![allow(clippy::unwrap_used, reason = "tests")]

mod lab;

use std::time::Duration;

use lab::{bridge, switch, tap_port};
use switch_io::{Capabilities, EngineChoice, channel};

on_both_engines! {
    an_idle_switch_uses_no_cpu
}

fn an_idle_switch_uses_no_cpu(engine: EngineChoice) {
    let (switch, bridge) = (switch(engine), bridge());
    let ports: Vec<_> = (0..100)
        .map(|_| {
            let (port, end) = channel(1024, Capabilities::ALL).unwrap();
            let id = switch.add_port(&bridge, Box::new(port), tap_port());
            (id.unwrap(), end)
        })
        .collect();
    std::thread::sleep(Duration::from_millis(50));
    let used = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::try_from(time).unwrap()
    };
    let before = used();
    std::thread::sleep(Duration::from_millis(500));
    assert!(used() - before < Duration::from_millis(5));
    drop(ports);
}
