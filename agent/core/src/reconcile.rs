//! At a start: what the records say, against what was found of it.
//!
//! # Theory of operation
//!
//! Records come before deeds, and containers outlive the agent. So at a start every record either has its deed, or gets it
//! now, or is settled. This comes in two parts, in the order in which it is to be done.
//!
//! First the data plane, from the records alone ([`raise`]): networks before their patches, then all links that an agent before
//! left, each with its MAC and addresses, and only then any of them is read. So frames flow again before anything is looked at,
//! and whoever asks for a neighbour finds it.
//!
//! Then the rest, by what was found ([`reconcile`]). Containers come before endpoints, which are plugged into their namespaces
//! in the order in which they were once, so that each link is called again what it was called. An endpoint whose sandbox is
//! gone is forgotten; one whose link was moved out of its sandbox comes back where it was moved. Each container goes on, or ends
//! as it was seen to end; one that was made for a client who has not started it goes with all it has, since that
//! client's connection ended with the last agent. Until then the packet filter is as the agent before left it. Host ports that are not open yet come
//! after its rules, which know by then what is published.
//!
//! What fails when it is done, because the host does not let it, is the business of who does it: a network is down, an
//! endpoint is forgotten, the rest goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use agent_api::Driver;

use crate::network::PREDEFINED;
use crate::record::{
    ContainerRecord, EndpointRecord, Moved, NetnsId, NetworkRecord, Owner, PatchRecord, Phase,
};

/// What is to be: every record.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    pub networks: Vec<NetworkRecord>,
    pub patches: Vec<PatchRecord>,
    pub containers: Vec<ContainerRecord>,
    pub endpoints: Vec<EndpointRecord>,
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The command's process of each container whose shim lives, by the container's id.
    pub running: BTreeMap<String, i32>,
    /// With which code commands ended, by the container's id.
    pub exits: BTreeMap<String, i32>,
    /// A path to each sandbox of somebody else that is still there; see [`sandboxes`].
    pub ways: BTreeMap<NetnsId, PathBuf>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    RaiseNetwork(NetworkRecord),
    Patch(PatchRecord),
    /// One of its networks is gone.
    ForgetPatch(PatchRecord),
    /// Takes the link over that an agent before left, if it did.
    Adopt(EndpointRecord),
    /// Reads all links that were taken over or made.
    Listen,
    /// Takes over those that an agent before left, where its rules stand.
    AdoptHostPorts,
    /// Of all networks that are to have one.
    OpenHostPorts,
    /// One of the networks that every agent has, and that is not on record.
    MakePredefined {
        name: &'static str,
        driver: Driver,
    },
    TakeContainerBack {
        record: Box<ContainerRecord>,
        /// The command's process, if there is one.
        init_pid: Option<i32>,
    },
    /// Takes the endpoint's addresses and makes its link anew, unless it was adopted; where that fails, it is forgotten.
    PlugAgain {
        record: EndpointRecord,
        sandbox: Sandbox,
    },
    /// The same where the link was moved to. Where that is not to be found, the endpoint stays, without a link.
    FollowLink {
        record: EndpointRecord,
        sandbox: Sandbox,
        moved: Moved,
    },
    ForgetEndpoint {
        id: String,
    },
    /// Lets a sandbox know the names of all networks that it is on.
    ShareNames(Owner),
    /// Publishes the ports of a sandbox's endpoints; those of containers come with the container.
    PublishPorts(Owner),
    /// Publishes the container's ports and follows it to its end.
    GoOn {
        container: String,
    },
    EndContainer {
        container: String,
        code: i32,
    },
    /// Kills what there is of it, and forgets it.
    RemoveContainer {
        container: String,
    },
}

/// Where a sandbox is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// That of a process.
    Of(i32),
    /// At the end of a path.
    At(PathBuf),
    /// The agent's own namespace, from where an engine takes links.
    Own,
}

/// Every sandbox of somebody else that endpoints are in, with each path by which it is known. A path may lead elsewhere by
/// now: a namespace that took the place of a sandbox while no agent ran is another one.
pub fn sandboxes(endpoints: &[EndpointRecord]) -> impl Iterator<Item = (NetnsId, &Path)> {
    endpoints.iter().filter_map(|record| match &record.owner {
        Owner::Sandbox(sandbox) => Some((*sandbox, record.sandbox.as_deref()?)),
        Owner::Container(_) | Owner::Engine(_) => None,
    })
}

/// What is to be done before anything is looked at, so that frames flow again; in order.
pub fn raise(desired: &Desired) -> Vec<Action> {
    let known = known(&desired.networks);
    let networks = desired.networks.iter().cloned();
    let mut actions: Vec<_> = networks.map(Action::RaiseNetwork).collect();
    actions.extend(desired.patches.iter().cloned().map(|patch| {
        let is_whole = patch.ways().iter().all(|(id, _)| known.contains(*id));
        match is_whole {
            true => Action::Patch(patch),
            false => Action::ForgetPatch(patch),
        }
    }));
    let endpoints = desired.endpoints.iter();
    let on_networks = endpoints.filter(|record| known.contains(&record.network));
    actions.extend(on_networks.cloned().map(Action::Adopt));
    actions.extend([Action::Listen, Action::AdoptHostPorts]);
    actions
}

fn known(networks: &[NetworkRecord]) -> BTreeSet<String> {
    networks.iter().map(|record| record.id.clone()).collect()
}

/// What is to be done afterwards, so that everything is again as the records say, or is settled; in order.
pub fn reconcile(desired: Desired, found: &Found) -> Vec<Action> {
    let Desired {
        networks,
        containers,
        mut endpoints,
        ..
    } = desired;
    endpoints.sort_by_key(|record| record.rank);
    let known = known(&networks);
    let ends: Vec<_> = containers
        .iter()
        .filter_map(|record| end(record, found))
        .collect();
    // What goes is plugged in nowhere.
    let staying = containers.iter().filter(|record| !record.is_held());
    let pids: BTreeMap<_, _> = staying
        .filter_map(|record| Some((record.id.clone(), *found.running.get(&record.id)?)))
        .collect();

    let mut actions = Vec::new();
    actions.extend(containers.into_iter().map(|record| {
        let init_pid = pids.get(&record.id).copied();
        Action::TakeContainerBack {
            record: Box::new(record),
            init_pid,
        }
    }));
    let (mut owners, mut publishers) = (BTreeSet::new(), BTreeSet::new());
    for record in endpoints {
        let sandbox = sandbox(&record, &pids, &found.ways);
        let sandbox = sandbox.filter(|_| known.contains(&record.network));
        if sandbox.is_some() {
            owners.insert(record.owner.clone());
            if !record.own_publish().is_empty() {
                publishers.insert(record.owner.clone());
            }
        }
        actions.push(restore(record, sandbox));
    }
    actions.push(Action::Listen);
    actions.extend(owners.into_iter().map(Action::ShareNames));
    actions.extend(publishers.into_iter().map(Action::PublishPorts));
    actions.extend(ends);
    actions.push(Action::OpenHostPorts);
    actions.extend(missing_predefined(&networks));
    actions
}

fn missing_predefined(networks: &[NetworkRecord]) -> Vec<Action> {
    let is_missing = |name: &str| !networks.iter().any(|record| record.name == name);
    let missing = PREDEFINED.into_iter().filter(|(name, _)| is_missing(name));
    missing
        .map(|(name, driver)| Action::MakePredefined { name, driver })
        .collect()
}

fn sandbox(
    record: &EndpointRecord,
    pids: &BTreeMap<String, i32>,
    ways: &BTreeMap<NetnsId, PathBuf>,
) -> Option<Sandbox> {
    match &record.owner {
        Owner::Container(id) => pids.get(id).copied().map(Sandbox::Of),
        Owner::Sandbox(sandbox) => ways.get(sandbox).cloned().map(Sandbox::At),
        Owner::Engine(_) => Some(Sandbox::Own),
    }
}

fn restore(mut record: EndpointRecord, sandbox: Option<Sandbox>) -> Action {
    let Some(sandbox) = sandbox else {
        return Action::ForgetEndpoint { id: record.id };
    };
    if let Sandbox::At(path) = &sandbox {
        record.sandbox = Some(path.clone());
    }
    match record.moved.clone() {
        None => Action::PlugAgain { record, sandbox },
        Some(moved) => Action::FollowLink {
            record,
            sandbox,
            moved,
        },
    }
}

/// How a container that has not ended yet goes on.
fn end(record: &ContainerRecord, found: &Found) -> Option<Action> {
    if matches!(record.phase, Phase::Exited(_)) {
        return None;
    }
    let container = record.id.clone();
    if record.is_held() {
        return Some(Action::RemoveContainer { container });
    }
    if found.running.contains_key(&container) {
        return Some(Action::GoOn { container });
    }
    let code = found.exits.get(&container).copied();
    let code = code.unwrap_or(EXIT_UNKNOWN);
    Some(Action::EndContainer { container, code })
}

/// The shim died without a word: what SIGKILL leaves, 128 + 9.
pub const EXIT_UNKNOWN: i32 = 137;

#[cfg(test)]
mod tests {
    use agent_api::{ContainerCreate, PortMapping, TransportProtocol};

    use super::*;
    use crate::sample;

    const THEIRS: NetnsId = NetnsId {
        device: 4,
        inode: 7,
    };

    fn container(id: &str, phase: Phase) -> ContainerRecord {
        ContainerRecord {
            id: id.to_owned(),
            name: id.to_owned(),
            hostname: id.to_owned(),
            created_s: 1,
            create: ContainerCreate::default(),
            connected: Vec::new(),
            phase,
            since_s: 1,
            restart: Default::default(),
            published: Vec::new(),
            held: false,
        }
    }

    /// On network `n`, in the sandbox of container `c`.
    fn endpoint(id: &str) -> EndpointRecord {
        EndpointRecord {
            owner: Owner::Container("c".to_owned()),
            ..sample::endpoint(id, &["10.1.0.2"])
        }
    }

    fn foreign(id: &str, path: &str) -> EndpointRecord {
        EndpointRecord {
            owner: Owner::Sandbox(THEIRS),
            sandbox: Some(path.into()),
            ..sample::endpoint(id, &["10.1.0.2"])
        }
    }

    /// A network `n` and the predefined ones.
    fn networks() -> Vec<NetworkRecord> {
        let names = ["n", "bridge", "host", "none"];
        names.map(|name| sample::network(name, &[])).into()
    }

    fn with_endpoints(endpoints: Vec<EndpointRecord>) -> Desired {
        Desired {
            networks: networks(),
            containers: vec![container("c", Phase::Running)],
            endpoints,
            ..Desired::default()
        }
    }

    fn running() -> Found {
        Found {
            running: [("c".to_owned(), 42)].into(),
            ..Found::default()
        }
    }

    /// What comes of endpoints and containers, between taking containers back and opening host ports.
    fn after_containers(desired: Desired, found: &Found) -> Vec<Action> {
        let actions = reconcile(desired, found);
        let is_taken_back = |action: &&Action| matches!(action, Action::TakeContainerBack { .. });
        let taken_back = actions.iter().take_while(is_taken_back).count();
        let last = actions
            .iter()
            .position(|action| *action == Action::OpenHostPorts)
            .unwrap();
        let after = &actions[taken_back..last];
        assert!(
            !after.iter().any(|action| is_taken_back(&action)),
            "{after:?}"
        );
        let reads = after.iter().filter(|action| **action == Action::Listen);
        assert_eq!(reads.count(), 1, "{after:?}");
        let others = after.iter().filter(|action| **action != Action::Listen);
        others.cloned().collect()
    }

    fn forgotten(id: &str) -> Action {
        Action::ForgetEndpoint { id: id.to_owned() }
    }

    fn ended(code: i32) -> Action {
        Action::EndContainer {
            container: "c".to_owned(),
            code,
        }
    }

    fn goes_on() -> Action {
        Action::GoOn {
            container: "c".to_owned(),
        }
    }

    /// Taken by an engine as the link `link`, if by any.
    fn engines(id: &str, link: Option<&str>) -> EndpointRecord {
        let moved = link.map(|link| Moved {
            namespace: THEIRS,
            cookie: 3,
            link: link.to_owned(),
        });
        EndpointRecord {
            owner: Owner::Engine(id.to_owned()),
            moved,
            ..sample::endpoint(id, &["10.1.0.2"])
        }
    }

    #[test]
    fn what_engines_took_is_followed_and_what_they_did_not_is_handed_over_again() {
        let (waiting, taken) = (engines("a", None), engines("b", Some("eth1")));
        let desired = with_endpoints(vec![waiting.clone(), taken.clone()]);
        let actions = after_containers(desired, &running());
        let moved = taken.moved.clone().unwrap();
        assert_eq!(taken.at(&moved).rank, 1);
        let sandbox = Sandbox::Own;
        let expected = [
            Action::PlugAgain {
                record: waiting,
                sandbox: sandbox.clone(),
            },
            Action::FollowLink {
                record: taken,
                sandbox,
                moved,
            },
        ];
        assert_eq!(actions[..2], expected);
    }

    #[test]
    fn sandboxes_publish_their_ports_and_containers_publish_their_own() {
        let publish = vec![PortMapping {
            host_ip: None,
            host_port: 8080,
            container_port: 80,
            protocol: TransportProtocol::Tcp,
        }];
        let with_ports = |record| EndpointRecord {
            publish: publish.clone(),
            ..record
        };
        let (ours, theirs) = (with_ports(endpoint("e1")), with_ports(engines("e2", None)));
        let owner = theirs.owner.clone();
        let actions = reconcile(with_endpoints(vec![ours, theirs]), &running());
        let publishes = actions.iter().filter_map(|action| match action {
            Action::PublishPorts(owner) => Some(owner),
            _ => None,
        });
        assert_eq!(publishes.collect::<Vec<_>>(), [&owner]);
    }

    #[test]
    fn a_first_start_makes_the_networks_that_every_agent_has() {
        let made = PREDEFINED.map(|(name, driver)| Action::MakePredefined { name, driver });
        let first = [Action::Listen, Action::OpenHostPorts];
        let expected: Vec<_> = first.into_iter().chain(made).collect();
        assert_eq!(reconcile(Desired::default(), &Found::default()), expected);
    }

    #[test]
    fn the_data_plane_comes_first_and_is_read_when_every_link_is_there() {
        let patch = PatchRecord::new("n", "bridge");
        let half = PatchRecord::new("n", "gone");
        let stray = EndpointRecord {
            network: "gone".to_owned(),
            ..endpoint("f")
        };
        let desired = Desired {
            networks: networks(),
            patches: vec![patch.clone(), half.clone()],
            endpoints: vec![endpoint("e"), stray],
            ..Desired::default()
        };
        let mut expected: Vec<_> = networks().into_iter().map(Action::RaiseNetwork).collect();
        expected.push(Action::Patch(patch));
        expected.push(Action::ForgetPatch(half));
        expected.push(Action::Adopt(endpoint("e")));
        expected.extend([Action::Listen, Action::AdoptHostPorts]);
        assert_eq!(raise(&desired), expected);
    }

    #[test]
    fn links_are_read_before_names_are_shared_and_rules_come_last() {
        let desired = with_endpoints(vec![endpoint("e")]);
        let actions = reconcile(desired, &running());
        let place = |wanted: &Action| actions.iter().position(|action| action == wanted);
        let names = Action::ShareNames(endpoint("e").owner);
        let order = [&Action::Listen, &names, &goes_on(), &Action::OpenHostPorts];
        let places: Vec<_> = order
            .into_iter()
            .map(|wanted| place(wanted).unwrap())
            .collect();
        assert!(places.is_sorted(), "{actions:?}");
    }

    #[test]
    fn containers_are_taken_back_with_the_processes_that_are_left() {
        let desired = Desired {
            containers: vec![
                container("c", Phase::Running),
                container("d", Phase::Exited(3)),
            ],
            ..Desired::default()
        };
        let actions = reconcile(desired, &running());
        let taken: Vec<_> = actions
            .iter()
            .filter_map(|action| match action {
                Action::TakeContainerBack { record, init_pid } => {
                    Some((record.id.as_str(), *init_pid))
                }
                _ => None,
            })
            .collect();
        assert_eq!(taken, [("c", Some(42)), ("d", None)]);
    }

    #[test]
    fn what_runs_goes_on_and_what_has_ended_stays_ended() {
        for phase in [Phase::Created, Phase::Running] {
            let desired = Desired {
                containers: vec![container("c", phase), container("d", Phase::Exited(3))],
                ..Desired::default()
            };
            assert_eq!(after_containers(desired, &running()), [goes_on()]);
        }
    }

    #[test]
    fn what_ended_meanwhile_ends_with_its_code_or_as_if_killed() {
        let desired = || with_endpoints(Vec::new());
        let seen = Found {
            exits: [("c".to_owned(), 3)].into(),
            ..Found::default()
        };
        assert_eq!(after_containers(desired(), &seen), [ended(3)]);
        let unseen = after_containers(desired(), &Found::default());
        assert_eq!(unseen, [ended(EXIT_UNKNOWN)]);
    }

    #[test]
    fn endpoints_come_back_in_the_order_of_their_ranks() {
        let second = EndpointRecord {
            rank: 1,
            ..endpoint("a")
        };
        let first = endpoint("b");
        let plugged = |record: &EndpointRecord| Action::PlugAgain {
            record: record.clone(),
            sandbox: Sandbox::Of(42),
        };
        let expected = [
            plugged(&first),
            plugged(&second),
            Action::ShareNames(first.owner.clone()),
            goes_on(),
        ];
        let desired = with_endpoints(vec![second, first]);
        assert_eq!(after_containers(desired, &running()), expected);
    }

    #[test]
    fn endpoints_of_containers_that_are_gone_are_forgotten() {
        let ended_since = after_containers(with_endpoints(vec![endpoint("e")]), &Found::default());
        assert_eq!(ended_since, [forgotten("e"), ended(EXIT_UNKNOWN)]);
        let removed = Desired {
            containers: Vec::new(),
            ..with_endpoints(vec![endpoint("e")])
        };
        assert_eq!(after_containers(removed, &running()), [forgotten("e")]);
    }

    #[test]
    fn endpoints_of_networks_that_are_gone_are_forgotten() {
        let stray = EndpointRecord {
            network: "gone".to_owned(),
            ..endpoint("e")
        };
        let actions = after_containers(with_endpoints(vec![stray]), &running());
        assert_eq!(actions, [forgotten("e"), goes_on()]);
    }

    #[test]
    fn a_sandbox_is_found_by_any_path_that_leads_there() {
        let records = vec![foreign("e", "/gone"), foreign("f", "/run/netns/f")];
        let known: Vec<_> = sandboxes(&records).collect();
        assert_eq!(
            known,
            [
                (THEIRS, Path::new("/gone")),
                (THEIRS, Path::new("/run/netns/f"))
            ]
        );
        let found = Found {
            ways: [(THEIRS, "/run/netns/f".into())].into(),
            ..Found::default()
        };
        let desired = Desired {
            containers: Vec::new(),
            ..with_endpoints(records)
        };
        let plugged = |id: &str| Action::PlugAgain {
            record: foreign(id, "/run/netns/f"),
            sandbox: Sandbox::At("/run/netns/f".into()),
        };
        let names = Action::ShareNames(Owner::Sandbox(THEIRS));
        assert_eq!(
            after_containers(desired.clone(), &found),
            [plugged("e"), plugged("f"), names]
        );
        let lost = after_containers(desired, &Found::default());
        assert_eq!(lost, [forgotten("e"), forgotten("f")]);
    }

    #[test]
    fn a_link_that_was_moved_comes_back_where_it_was_moved() {
        let moved = Moved {
            namespace: THEIRS,
            cookie: 9,
            link: "lan0".to_owned(),
        };
        let record = EndpointRecord {
            moved: Some(moved.clone()),
            ..endpoint("e")
        };
        let actions = after_containers(with_endpoints(vec![record.clone()]), &running());
        let followed = Action::FollowLink {
            record: record.clone(),
            sandbox: Sandbox::Of(42),
            moved,
        };
        assert_eq!(actions[0], followed);
        let without = after_containers(with_endpoints(vec![record]), &Found::default());
        assert_eq!(without[0], forgotten("e"));
    }

    #[test]
    fn what_was_held_goes_with_its_endpoints() {
        let held = |phase| {
            let mut desired = with_endpoints(vec![endpoint("e")]);
            desired.containers[0].held = true;
            desired.containers[0].phase = phase;
            after_containers(desired, &running())
        };
        let removed = Action::RemoveContainer {
            container: "c".to_owned(),
        };
        assert_eq!(held(Phase::Created), [forgotten("e"), removed]);
        // It was started, and the record's next state says so.
        assert_eq!(held(Phase::Running).last(), Some(&goes_on()));
    }
}
