//! The command `tapestry`: reads the command line, asks the agent, prints its answer.

mod acl;
mod agent;
mod amount;
mod arguments;
mod attachment;
mod capture;
mod cluster;
mod completions;
mod dns;
mod docker_names;
mod docker_words;
mod doctor;
mod events;
mod exec;
mod failure;
mod fdb;
mod filter;
mod flows;
mod format;
mod help;
mod image;
mod inspect;
mod lab;
mod lines;
mod link;
mod listing;
mod logs;
mod man;
mod mdb;
mod mirror;
mod moment;
mod network;
mod output;
mod port;
mod ps;
mod publish;
mod rate;
mod replace;
mod rm;
mod run;
mod screen;
mod session;
mod start;
mod stop;
mod sys;
mod template;
mod top;
mod trace;
mod ui;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use agent_api::{Client, DEFAULT_SOCKET};
use agent_container::{run_init, run_nursery, run_shim};
use clap::{CommandFactory, Parser, Subcommand};

use failure::Failure;

/// Networks for containers, from a switch in userspace.
#[derive(Debug, Parser)]
#[command(name = "tapestry", version, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "Run 'tapestry COMMAND --help' for more about a command.")]
struct Cli {
    /// The agent's socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "TAPESTRY_SOCKET",
        default_value = DEFAULT_SOCKET,
        hide_env_values = true,
        help_heading = "Global options"
    )]
    socket: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Agent(agent::Args),
    #[command(subcommand)]
    Network(network::Verb),
    Run(Box<run::Args>),
    Ps(ps::Args),
    Exec(exec::Args),
    Logs(logs::Args),
    Stop(stop::Args),
    Start(start::Args),
    Restart(start::RestartArgs),
    Rm(rm::Args),
    Inspect(inspect::Args),
    #[command(subcommand)]
    Fdb(fdb::Verb),
    #[command(subcommand)]
    Mdb(mdb::Verb),
    #[command(subcommand)]
    Acl(acl::Verb),
    Port(port::Args),
    Capture(capture::Args),
    #[command(subcommand)]
    Mirror(mirror::Verb),
    #[command(subcommand)]
    Link(link::Verb),
    #[command(subcommand)]
    Rate(rate::Verb),
    #[command(subcommand)]
    Dns(dns::Verb),
    Trace(Box<trace::Args>),
    Flows(flows::Args),
    Ui(ui::Args),
    #[command(subcommand)]
    Lab(lab::Verb),
    #[command(subcommand)]
    Cluster(cluster::Verb),
    Events(events::Args),
    Top(top::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Man(man::Args),
    Help(help::Args),
    /// Watches over one container; the agent starts it
    #[command(hide = true)]
    Shim {
        /// The container's directory
        dir: PathBuf,
    },
    /// Forks shims; the agent starts it
    #[command(hide = true)]
    Nursery,
    /// Becomes process 1 of a container; the shim starts it
    #[command(hide = true)]
    Init {
        /// What the shim passes on
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    if integration::cni::is_called() {
        return integration::cni::run();
    }
    if integration::netavark::is_called() {
        return integration::netavark::run();
    }
    // Every container and every command in it begins so: without all that the others' arguments take.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|verb| verb == "init")
    {
        return run_init();
    }
    completions::answer(Cli::command);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return failure::report_usage(&error, &Cli::command()),
    };
    screen::look_at_stdout();
    match dispatch(cli) {
        Ok(status) => status,
        Err(failure) => failure.report(),
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let client = Client::new(cli.socket);
    let client = &client;
    let code = match cli.verb {
        // These bring their own threads, or must have none.
        Verb::Agent(args) => agent::run(args, client.socket()),
        Verb::Shim { dir } => return Ok(run_shim(&dir)),
        Verb::Nursery => return Ok(run_nursery()),
        Verb::Init { .. } => return Ok(run_init()),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args, Cli::command()),
        Verb::Help(args) => help::run(&args, Cli::command()),
        Verb::Network(verb) => wait(network::run(verb, client)),
        Verb::Run(args) => run::run(*args, client),
        Verb::Ps(args) => wait(ps::run(args, client)),
        Verb::Exec(args) => exec::run(args, client),
        Verb::Logs(args) => wait(logs::run(args, client)),
        Verb::Stop(args) => wait(stop::run(args, client)),
        Verb::Start(args) => wait(start::run(args, client)),
        Verb::Restart(args) => wait(start::restart(args, client)),
        Verb::Rm(args) => wait(rm::run(args, client)),
        Verb::Inspect(args) => wait(inspect::run(args, client)),
        Verb::Fdb(verb) => wait(fdb::run(verb, client)),
        Verb::Mdb(verb) => wait(mdb::run(verb, client)),
        Verb::Port(args) => wait(port::run(args, client)),
        Verb::Capture(args) => wait(capture::run(args, client)),
        Verb::Acl(verb) => wait(acl::run(verb, client)),
        Verb::Mirror(verb) => wait(mirror::run(verb, client)),
        Verb::Link(verb) => wait(link::run(verb, client)),
        Verb::Rate(verb) => wait(rate::run(verb, client)),
        Verb::Dns(verb) => wait(dns::run(verb, client)),
        Verb::Trace(args) => wait(trace::run(*args, client)),
        Verb::Flows(args) => wait(flows::run(args, client)),
        Verb::Ui(args) => wait(ui::run(args, client)),
        Verb::Lab(verb) => lab::run(verb, client),
        Verb::Cluster(verb) => wait(cluster::run(verb, client)),
        Verb::Events(args) => wait(events::run(args, client)),
        Verb::Top(args) => wait(top::run(args, client)),
        Verb::Doctor(args) => wait(doctor::run(args, client)),
    }?;
    Ok(ExitCode::from(code))
}

/// Does work that waits for the agent, on this thread.
fn wait<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    Ok(runtime.block_on(work)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(path: &[&str]) -> String {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut here = &mut command;
        for verb in path {
            here = here.find_subcommand_mut(verb).unwrap();
        }
        here.render_long_help().to_string()
    }

    #[test]
    fn help_is_as_reviewed() {
        insta::assert_snapshot!("help", help(&[]));
        insta::assert_snapshot!("help_run", help(&["run"]));
        insta::assert_snapshot!("help_exec", help(&["exec"]));
        insta::assert_snapshot!("help_network", help(&["network"]));
        insta::assert_snapshot!("help_network_create", help(&["network", "create"]));
        insta::assert_snapshot!("help_doctor", help(&["doctor"]));
    }

    #[test]
    fn every_argument_and_command_has_help() {
        fn look(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no help");
            for argument in command.get_arguments() {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "{path}: {id} has no help");
            }
            for verb in command.get_subcommands() {
                look(verb, &path);
            }
        }
        Cli::command().debug_assert();
        look(&Cli::command(), "");
    }

    #[test]
    fn every_list_can_be_filtered_and_shown_as_a_script_wants_it() {
        fn look(command: &clap::Command, path: &str, lists: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            if LISTS.iter().any(|list| path.ends_with(list)) {
                for wanted in ["filter", "format", "json", "quiet"] {
                    let has = |argument: &clap::Arg| argument.get_id() == wanted;
                    assert!(command.get_arguments().any(has), "{path} has no --{wanted}");
                }
                lists.push(path.clone());
            }
            for verb in command.get_subcommands() {
                look(verb, &path, lists);
            }
        }
        const LISTS: [&str; 3] = [" ls", " ps", " link show"];
        let mut lists = Vec::new();
        look(&Cli::command(), "", &mut lists);
        assert!(lists.len() >= 8, "{lists:?}");
    }

    #[test]
    fn every_command_of_the_contract_parses() {
        for line in CONTRACT.lines() {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn a_mistaken_option_is_no_token() {
        let line = ["tapestry", "cluster", "join", "--advertize", "192.0.2.1"];
        assert!(Cli::try_parse_from(line).is_err());
    }

    #[test]
    fn socket_may_stand_anywhere_before_the_command() {
        for line in [
            "tapestry --socket /x run -- ls --socket /y",
            "tapestry run --socket /x ls --socket /y",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.socket, PathBuf::from("/x"));
        }
    }

    const CONTRACT: &str = "\
tapestry agent
tapestry agent --socket /a --state-dir /b --config /c
tapestry network create lab
tapestry network create --subnet none lab
tapestry network create --driver overlay --subnet 10.1.0.0/16 --subnet fd00::/64 --gateway 10.1.0.1 --ip-range 10.1.1.0/24 --ipv6 --force --internal --mtu 1400 --dns 8.8.8.8 --dns ::1 -o encap=quic -o vni=7 --label a=b --label c lab
tapestry network graph lab
tapestry network graph --all --svg
tapestry ui
tapestry ui --listen 127.0.0.1:8080 --set-links
tapestry network ls
tapestry network ls -q
tapestry network ls --no-trunc
tapestry network ls --json
tapestry network ls --format {{.Name}}
tapestry network ls --filter type=custom --filter dangling=true
tapestry ps --format json
tapestry inspect -f {{.Id}} web
tapestry network inspect --format {{.Driver}} lab
tapestry network create --attachable lab
tapestry network create --aux-address router=10.1.0.9 -o com.docker.network.driver.mtu=1400 lab
tapestry network connect --ip 10.1.0.7 --ip6 fd00::7 --alias db lab web
tapestry network disconnect -f lab web
tapestry network inspect lab
tapestry network inspect --json lab
tapestry network rm a b
tapestry network rm -f a
tapestry network connect lab web
tapestry network disconnect lab web
tapestry network prune
tapestry network prune -f
tapestry run -d --rm -i -t --name a --hostname h --network container:b --ip 10.0.0.2 --ip6 fd00::2 --mac-address 02:42:0a:00:00:02 --network-alias x --network-alias y --dns 8.8.8.8 --dns-search d -p 8080:80 -p 127.0.0.1:53:53/udp -e A=b -w /tmp --rootfs /srv -- sh -c true
tapestry run -it sh
tapestry run --name busybox1 --rm -- ifconfig
tapestry run --network none --rm -- ip link
tapestry run --cap-add NET_ADMIN --cap-add CAP_SYS_TIME --cap-drop ALL -- sh
tapestry run --privileged sh
tapestry ps
tapestry ps -a -q
tapestry ps --json
tapestry exec web -- ls -l
tapestry exec -it web sh
tapestry logs web
tapestry logs -f --tail 10 web
tapestry stop web
tapestry stop -t 1 web
tapestry start web db
tapestry restart web
tapestry restart -t 1 web db
tapestry help
tapestry help network create
tapestry run -h web -l a=b --label c sh
tapestry ps -f label=a --filter label=b=c --filter status=exited
tapestry network ls -f label=a --filter driver=overlay
tapestry rm web
tapestry rm -f web
tapestry inspect web
tapestry fdb ls lab
tapestry fdb ls --json lab
tapestry fdb flush lab
tapestry fdb flush --port 3 lab
tapestry mdb ls lab
tapestry mdb ls --json lab
tapestry fdb flush --port web --static lab
tapestry fdb add lab 0a:00:00:00:00:01 web
tapestry fdb add lab 0a:00:00:00:00:01 3 --sticky
tapestry fdb rm lab 0a:00:00:00:00:01
tapestry port set web locked=on learning=off learn_limit=8
tapestry port set web lab up
tapestry port show --json web lab
tapestry acl add lab deny from label:tier=web to name:db proto tcp port 5432
tapestry acl add --priority 5 --both lab allow from 10.0.0.0/24 to gateway proto udp port 53
tapestry acl ls --json lab
tapestry acl rm lab 10 20
tapestry acl default lab deny
tapestry acl label web lab tier=db env-
tapestry port ls lab
tapestry port ls --json lab
tapestry port ls -q -f state=up lab
tapestry mirror ls --format {{.From}} lab
tapestry link show -q --filter network=lab
tapestry cluster ls -q
tapestry lab ls -q
tapestry port up lab 3
tapestry capture lab
tapestry capture lab -c 5 icmp and host 10.0.0.2
tapestry capture web:eth0 -w web.pcapng --snaplen 96 --duration 30s
tapestry capture lab -w lab.pcapng -C 10 -W 3
tapestry capture -w - lab:3 not port 22
tapestry mirror add lab --from web --to ids
tapestry mirror ls lab
tapestry mirror ls --json lab
tapestry mirror rm lab --from web
tapestry port web
tapestry port web 80
tapestry port web 53/udp
tapestry link set web --delay 50ms --jitter 5ms --loss 10% --rate 10mbit
tapestry link set -n web -i eth0 --delay 1s --loss 10 --corruption 5 --modify
tapestry link show
tapestry link show --json web
tapestry link reset web eth0
tapestry link down web
tapestry link up -n web -i eth0
tapestry run -p 80 -p 127.0.0.1::80 -p 8000-8010:80 -P --expose 53/udp --expose 1000-1010 -- sh
tapestry run --network name=lab,alias=a,ip=10.0.0.2 --network back --add-host db:10.0.0.9 --add-host up:host-gateway -- sh
tapestry run -d --sysctl net.ipv4.ip_forward=1 --restart on-failure:3 -- sh
tapestry network create --dns tls://1.1.1.1#one.one.one.one -o dns.record=db=10.0.0.9 -o dns.rebind=block lab
tapestry run --dns https://[2606:4700::1111]/dns-query --dns quic://9.9.9.9:8853 --dns-option ndots:2 -- sh
tapestry dns log lab
tapestry dns log --json lab
tapestry trace lab --from web --to db
tapestry trace lab --from 3 --to 192.0.2.1 --tcp 80 --json
tapestry trace lab --from web --to db --udp 53
tapestry trace lab --from web --to 172.17.0.1 --arp
tapestry trace lab --from host --frame 0242 --frame 0243
tapestry trace lab --from web --pcap /tmp/a.pcap
tapestry trace lab --live
tapestry trace lab --live --drops -c 3 udp port 53
tapestry trace lab --live --json not arp
tapestry flows lab
tapestry flows lab --top 5 --drops --json
tapestry flows --live --sample 100 lab
tapestry flows --duration 10 -f protocol=tcp lab
tapestry cluster init
tapestry cluster init --advertise 192.0.2.1:4790 --etcd https://192.0.2.9:2379 --etcd https://192.0.2.10:2379
tapestry cluster token
tapestry cluster token -q --ttl 60
tapestry cluster join TPSTRY-1-0 192.0.2.1
tapestry cluster join - 192.0.2.1
tapestry cluster join --advertise 192.0.2.2 TPSTRY-1-0 [2001:db8::1]:4790
tapestry cluster ls
tapestry cluster ls --json
tapestry cluster leave
tapestry cluster revoke host-2
tapestry cluster promote host-2
tapestry cluster demote host-2
tapestry cluster recover
tapestry cluster rm host-2
tapestry cluster backup /root/cluster.backup
tapestry cluster backup -
tapestry cluster restore /root/cluster.backup
tapestry cluster restore --advertise 192.0.2.1:4790 --etcd https://192.0.2.9:2379 --force -
tapestry cluster managers 192.0.2.7
tapestry lab up
tapestry lab up --dry-run frr01.clab.yml
tapestry lab down lab.conf
tapestry lab down --name frr01
tapestry lab ls --json
tapestry lab inspect --json frr01.clab.yml
tapestry lab exec frr01.clab.yml router1 -- vtysh -c show_ip_route
tapestry lab exec --all frr01.clab.yml -- ip -br address
tapestry lab graph --svg frr01.clab.yml
tapestry lab validate frr01.clab.yml
tapestry events
tapestry events --since 10m --until 2026-11-30T09:00:00 -f type=container --filter label=a=b --json
tapestry events --format {{.Type}}
tapestry top
tapestry top --once
tapestry top -d 2 lab
tapestry doctor
tapestry doctor --json
tapestry completions bash
tapestry man
tapestry man --dir /tmp
tapestry shim /run/tapestry/containers/1
tapestry nursery
tapestry init --anything";
}
