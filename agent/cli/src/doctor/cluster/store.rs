//! The way to the store: whether this host is in step, which managers answer, and what their clocks say.

use agent_api::{ClusterDetail, ManagerHealth, ManagerView};
use serde_json::json;

use crate::cluster::{milliseconds, span};
use crate::doctor::check::Check;

pub(super) fn step(cluster: &ClusterDetail) -> Check {
    let what = "cluster";
    let asked = cluster.managers.iter().find(|manager| manager.asked);
    let facts = json!({
        "in_step": cluster.in_step,
        "out_of_step_s": cluster.out_of_step.as_ref().map(|step| step.for_s),
        "manager": asked.map(|manager| &manager.name),
    });
    let check = match (&cluster.out_of_step, cluster.in_step) {
        (_, true) => Check::ok(
            what,
            format!("in step with the store, {}", by(cluster, asked)),
        ),
        (step, false) => {
            let for_s = step.as_ref().map_or(0, |step| step.for_s);
            let why = step.as_ref().and_then(|step| step.why.as_deref());
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            Check::warn(
                what,
                format!("out of step with the store for {}{why}", span(for_s)),
                "frames flow and containers start meanwhile, but networks are neither made nor removed; \
                 see that a manager's agent runs, and that its TCP port is open; \
                 where other hosts are managers by now: tapestry cluster managers ADDRESS",
            )
        }
    };
    check.with(facts)
}

fn by(cluster: &ClusterDetail, asked: Option<&ManagerView>) -> String {
    match asked {
        Some(manager) if manager.host == cluster.host => "as a manager".to_owned(),
        Some(manager) => format!("by manager {} at {}", manager.name, manager.address),
        None => "by a manager".to_owned(),
    }
}

/// This host is a copy of another one.
pub(super) fn double(cluster: &ClusterDetail) -> Option<Check> {
    let address = cluster.double?;
    let check = Check::fail(
        "copy",
        format!(
            "another agent, at {address}, is host {} already",
            cluster.host
        ),
        "this state directory was copied: tapestry cluster leave, which leaves the other alone, and join with a token",
    );
    Some(check.with(json!({ "address": address })))
}

/// One line for each.
pub(super) fn managers(managers: &[ManagerHealth]) -> Vec<Check> {
    super::some("managers", managers.iter(), |health| {
        let manager = &health.manager;
        let what = format!("manager {}", manager.name);
        let check = match &health.silent {
            None => {
                let took = milliseconds(health.took_us.unwrap_or_default());
                Check::ok(&what, format!("answers at {} in {took}", manager.address))
            }
            Some(why) => Check::warn(
                &what,
                format!("does not answer at {}: {why}", manager.address),
                format!(
                    "see that its agent runs, and that TCP port {} is open there",
                    manager.address.port()
                ),
            ),
        };
        check.with(json!({
            "host": manager.host,
            "name": manager.name,
            "address": manager.address,
            "answers": health.silent.is_none(),
            "took_us": health.took_us,
        }))
    })
}

/// The store goes on while more than half of the managers are there.
pub(super) fn number(managers: &[ManagerView]) -> Check {
    let what = "managers";
    let count = managers.len();
    let check = match count {
        0 => Check::ok(what, "none is known yet"),
        1 => Check::hint(
            what,
            "1: while it is away nobody joins, and networks are neither made nor removed",
            "three outlive the loss of any one: tapestry cluster promote HOST",
        ),
        even if even % 2 == 0 => Check::hint(
            what,
            format!(
                "{even} outlive the loss of {}, as {} would",
                even / 2 - 1,
                even - 1
            ),
            "take 1, 3 or 5: tapestry cluster promote HOST, or demote HOST",
        ),
        odd => Check::ok(what, format!("{odd} outlive the loss of {}", odd / 2)),
    };
    check.with(json!({ "count": count }))
}

/// Against those of the managers that answer.
pub(super) fn clocks(managers: &[ManagerHealth]) -> Option<Check> {
    let what = "clocks";
    let known = managers.iter().filter_map(|health| {
        let ahead_s = health.clock_ahead_s?;
        Some((&health.manager.name, ahead_s))
    });
    let (name, ahead_s) = known.max_by_key(|(_, ahead_s)| ahead_s.unsigned_abs())?;
    let by_s = ahead_s.unsigned_abs();
    let check = match by_s {
        0..=CLOCK_OFF_S => Check::ok(what, "agree with those of the managers"),
        _ => {
            let found = match ahead_s > 0 {
                true => format!("manager {name}'s is {by_s} s ahead of this host's"),
                false => format!("this host's is {by_s} s ahead of manager {name}'s"),
            };
            Check::warn(
                what,
                found,
                "set the one that is wrong: beyond 300 s hosts are neither admitted nor certified",
            )
        }
    };
    Some(check.with(json!({ "manager": name, "ahead_s": ahead_s })))
}

/// Answers take a moment, and count whole seconds.
const CLOCK_OFF_S: u64 = 30;

#[cfg(test)]
mod tests {
    use agent_api::OutOfStep;

    use super::*;
    use crate::doctor::check::Level;
    use crate::doctor::cluster::certificate::tests::cluster;

    fn manager(name: &str, asked: bool) -> ManagerView {
        ManagerView {
            host: format!("id-{name}"),
            name: name.to_owned(),
            address: "192.0.2.1:4790".parse().unwrap(),
            asked,
        }
    }

    fn answer(name: &str, clock_ahead_s: Option<i64>) -> ManagerHealth {
        ManagerHealth {
            manager: manager(name, false),
            silent: clock_ahead_s.is_none().then(|| "connection refused".into()),
            took_us: clock_ahead_s.map(|_| 2_400),
            clock_ahead_s,
        }
    }

    #[test]
    fn whether_this_host_is_in_step_and_by_whom_is_said() {
        let mut cluster = ClusterDetail {
            managers: vec![manager("one", false), manager("two", true)],
            ..cluster((0, 0), 0)
        };
        assert_eq!(
            step(&cluster).to_string(),
            "ok    cluster: in step with the store, by manager two at 192.0.2.1:4790"
        );
        cluster.host = "id-two".into();
        assert!(step(&cluster).found.ends_with("as a manager"));
        cluster.in_step = false;
        cluster.out_of_step = Some(OutOfStep {
            for_s: 130,
            why: Some("it is silent".into()),
        });
        let out = step(&cluster);
        assert_eq!(out.level, Level::Warn);
        assert_eq!(
            out.found,
            "out of step with the store for 2 min: it is silent"
        );
        assert_eq!(out.facts.unwrap()["out_of_step_s"], 130);
    }

    #[test]
    fn a_copy_of_a_host_is_a_failure() {
        let original = cluster((0, 0), 0);
        assert_eq!(double(&original), None);
        let copy = ClusterDetail {
            double: Some([192, 0, 2, 9].into()),
            ..original
        };
        let check = double(&copy).unwrap();
        assert_eq!(check.level, Level::Fail);
        assert!(check.found.contains("192.0.2.9"), "{check}");
    }

    #[test]
    fn a_manager_that_is_silent_is_named_with_why() {
        let checks = managers(&[answer("one", Some(0)), answer("two", None)]);
        let said: Vec<_> = checks.iter().map(Check::to_string).collect();
        assert_eq!(
            said[0],
            "ok    manager one: answers at 192.0.2.1:4790 in 2.40 ms"
        );
        assert!(
            said[1].starts_with("warn  manager two: does not answer at 192.0.2.1:4790: connection"),
            "{}",
            said[1]
        );
        assert_eq!(checks[1].facts.as_ref().unwrap()["answers"], false);
    }

    #[test]
    fn even_numbers_of_managers_are_hinted_at() {
        let said = |count: usize| {
            let managers: Vec<_> = (0..count).map(|n| manager(&n.to_string(), false)).collect();
            let check = number(&managers);
            assert_eq!(check.level, Level::Ok);
            check
        };
        assert!(said(1).remedy.unwrap().contains("promote"));
        assert_eq!(said(2).found, "2 outlive the loss of 0, as 1 would");
        assert_eq!(said(4).found, "4 outlive the loss of 1, as 3 would");
        for (odd, lost) in [(3, 1), (5, 2)] {
            assert_eq!(said(odd).found, format!("{odd} outlive the loss of {lost}"));
            assert_eq!(said(odd).remedy, None);
        }
    }

    #[test]
    fn the_clock_that_is_furthest_off_is_told_in_both_directions() {
        let said = |offs: &[Option<i64>]| {
            let managers: Vec<_> = offs.iter().map(|off| answer("one", *off)).collect();
            clocks(&managers)
        };
        assert_eq!(said(&[None]), None);
        assert_eq!(said(&[Some(2), Some(-3)]).unwrap().level, Level::Ok);
        let behind = said(&[Some(1), Some(75)]).unwrap();
        assert_eq!(behind.level, Level::Warn);
        assert_eq!(behind.found, "manager one's is 75 s ahead of this host's");
        let ahead = said(&[Some(-75)]).unwrap();
        assert_eq!(ahead.found, "this host's is 75 s ahead of manager one's");
    }
}
