//! What `make install` puts where, and what a shell, a runtime and a service manager then make of it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::{Host, Output, Terminal, binary, run};

#[test]
fn install_puts_every_file_in_its_place_twice_and_uninstall_leaves_none() {
    let tree = TempDir::with_prefix("i").unwrap();
    let opt = tree.path().join("opt/cni/bin");
    fs::create_dir_all(&opt).unwrap();
    let before = files(tree.path());
    make(tree.path(), "install", &[]).ok();
    let installed = files(tree.path());
    for file in [
        "usr/local/bin/tapestry",
        "usr/local/lib/cni/tapestry",
        "usr/local/lib/netavark/tapestry",
        "usr/local/lib/systemd/system/tapestry.service",
        "usr/local/lib/systemd/system/tapestry.socket",
        "usr/local/share/bash-completion/completions/tapestry",
        "usr/local/share/zsh/site-functions/_tapestry",
        "usr/local/share/man/man1/tapestry.1",
        "usr/local/share/man/man1/tapestry-network-create.1",
        "usr/local/share/tapestry/installed",
        "usr/local/share/tapestry/mininet/tapestry.py",
        "usr/local/share/tapestry/prometheus/tapestry.rules.yml",
        "usr/local/share/tapestry/grafana/tapestry.json",
        "etc/fish/completions/tapestry.fish",
        "opt/cni/bin/tapestry",
    ] {
        assert!(
            installed.contains(Path::new(file)),
            "{file}: {installed:#?}"
        );
    }
    let link = |path: &str| fs::read_link(tree.path().join(path)).unwrap();
    for path in ["usr/local/lib/netavark/tapestry", "opt/cni/bin/tapestry"] {
        assert_eq!(link(path), Path::new("/usr/local/bin/tapestry"));
    }
    // An older version had a page more, and one of the folder's other files is somebody else's.
    let pages = tree.path().join("usr/local/share/man/man1");
    let list = tree.path().join("usr/local/share/tapestry/installed");
    for page in ["tapestry-old.1", "other.1"] {
        fs::write(pages.join(page), "").unwrap();
    }
    let older = fs::read_to_string(&list).unwrap() + "/usr/local/share/man/man1/tapestry-old.1\n";
    fs::write(&list, older).unwrap();
    make(tree.path(), "install", &[]).ok();
    let other = pages.join("other.1");
    assert!(other.exists());
    fs::remove_file(other).unwrap();
    assert_eq!(files(tree.path()), installed);
    make(tree.path(), "uninstall", &[]).ok();
    assert_eq!(files(tree.path()), before);
    let refused = make(tree.path(), "uninstall", &[]).refused(2);
    assert!(refused.contains("nothing was installed"), "{refused}");
}

#[test]
fn install_under_another_prefix_is_whole() {
    let tree = TempDir::with_prefix("i").unwrap();
    let given = ["PREFIX=/usr", "CNI_DIRS=/srv/cni /usr/lib/cni"];
    make(tree.path(), "install", &given).ok();
    let installed = files(tree.path());
    for file in [
        "usr/bin/tapestry",
        "usr/lib/cni/tapestry",
        "srv/cni/tapestry",
        "usr/share/fish/vendor_completions.d/tapestry.fish",
    ] {
        assert!(
            installed.contains(Path::new(file)),
            "{file}: {installed:#?}"
        );
    }
    let unit = fs::read_to_string(tree.path().join("usr/lib/systemd/system/tapestry.service"));
    let unit = unit.unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/tapestry agent"), "{unit}");
    make(tree.path(), "uninstall", &given).ok();
    assert_eq!(files(tree.path()), BTreeSet::new());
}

/// Each shell finds the script by itself where it was installed, and a Tab brings the names that the agent has.
#[test]
fn installed_completions_know_the_agents_networks_and_containers() {
    let tree = TempDir::with_prefix("i").unwrap();
    make(tree.path(), "install", &["PREFIX=/p"]).ok();
    let share = tree.path().join("p/share");
    let path = format!(
        "{}:{}",
        tree.path().join("p/bin").display(),
        std::env::var("PATH").unwrap()
    );
    let host = Host::start();
    host.tapestry(&["network", "create", "--subnet", "none", "crimson"])
        .ok();
    let sleeper = [
        "run",
        "-d",
        "--name",
        "loom",
        "--network",
        "none",
        "sleep",
        "99",
    ];
    host.tapestry(&sleeper).ok();
    let shell = |program: &str, arguments: &[&str]| {
        let mut shell = Command::new(program);
        shell
            .args(arguments)
            .env("PATH", &path)
            .env("HOME", host.dir())
            .env("XDG_DATA_DIRS", &share)
            .env("TAPESTRY_SOCKET", host.socket());
        shell
    };

    let asked = |line: &str| {
        run(&mut shell(
            "fish",
            &["-c", &format!("complete -C {line:?}")],
        ))
        .ok()
    };
    assert_eq!(asked("tapestry network rm cr"), "crimson\n");
    assert_eq!(asked("tapestry stop lo"), "loom\n");

    let word = "tapestry network inspect cri";
    let lazily = format!(
        ". /usr/share/bash-completion/bash_completion; _completion_loader tapestry; COMP_WORDS=({word}); COMP_CWORD=3; \
         _clap_complete_tapestry tapestry cri inspect; echo \"${{COMPREPLY[@]}}\""
    );
    let completed = run(&mut shell("bash", &["--norc", "-c", &lazily])).ok();
    assert_eq!(completed, "crimson\n");

    let mut zsh = Terminal::open(shell("zsh", &["-f", "-i"]));
    let folder = share.join("zsh/site-functions");
    let load = format!(
        "fpath=({} $fpath); autoload -U compinit; compinit -D -u; echo lo''aded\r",
        folder.display()
    );
    zsh.type_in(&load);
    zsh.expect("loaded");
    // The first Tab loads the script, and is answered.
    zsh.type_in("tapestry network inspect cri\t");
    zsh.expect("inspect crimson");
    zsh.type_in("\x15tapestry stop lo\t");
    zsh.expect("stop loom");
    zsh.type_in("\x15exit\r");
    assert_eq!(zsh.status(), 0);
    host.tapestry(&["rm", "-f", "loom"]).ok();
}

#[test]
fn units_are_what_systemd_takes() {
    let tree = TempDir::with_prefix("i").unwrap();
    make(tree.path(), "install", &[]).ok();
    // systemd looks for the program and its manual on this machine, where they are not installed.
    let unit = |name: &str, replace: [&str; 2]| {
        let path = tree.path().join("usr/local/lib/systemd/system").join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(replace[0]), "{text}");
        let text = text.replace("/usr/local/bin/tapestry", binary().to_str().unwrap());
        fs::write(&path, text.replace(replace[0], replace[1])).unwrap();
        path
    };
    // It reads what these name too; what it says about others is not of interest.
    let verify = |paths: &[PathBuf]| -> Vec<String> {
        let mut verify = Command::new("systemd-analyze");
        let said = run(verify.args(["verify", "--man=no"]).args(paths)).stderr;
        let ours = said.lines().filter(|line| line.contains("tapestry"));
        ours.map(str::to_owned).collect()
    };
    let socket = unit("tapestry.socket", ["docker", "docker"]);
    // systemd before 254 has a line of warning for this one, and starts the agent all the same.
    let service = unit("tapestry.service", ["DelegateSubgroup=agent\n", "\n"]);
    assert_eq!(verify(&[service, socket.clone()]), Vec::<String>::new());
    let service = unit("tapestry.service", ["on-failure", "perhaps"]);
    let said = verify(&[service, socket]).concat();
    assert!(said.contains("perhaps"), "{said}");
}

#[test]
fn a_plugins_folder_is_whole_and_replaces_nothing_else() {
    let tree = TempDir::with_prefix("i").unwrap();
    let folder = tree.path().join("plugin");
    let write = || {
        let variable = format!("PLUGIN_DIR={}", folder.display());
        make(tree.path(), "docker-plugin", &[&variable])
    };
    write().ok();
    let written = files(&folder);
    for file in [
        "config.json",
        "rootfs/entrypoint",
        "rootfs/usr/bin/tapestry",
        "rootfs/usr/sbin/nft",
    ] {
        assert!(written.contains(Path::new(file)), "{file}: {written:#?}");
    }
    write().ok();
    assert_eq!(files(&folder), written);
    // The programs find all that they load in there.
    for program in ["/usr/bin/tapestry", "/usr/sbin/nft"] {
        let root = folder.join("rootfs");
        run(Command::new("chroot")
            .arg(root)
            .args([program, "--version"]))
        .ok();
    }
    fs::remove_file(folder.join("config.json")).unwrap();
    let refused = write().refused(2);
    assert!(refused.contains("holds something else"), "{refused}");
    assert!(folder.join("rootfs/usr/bin/tapestry").exists());
}

/// With `Type=notify`, what is ordered after the agent waits until it answers.
#[test]
fn the_service_manager_hears_when_the_agent_is_ready_and_when_it_stops() {
    let host = Host::without_agent();
    let path = host.dir().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // What else it says is about descriptors to keep.
    let hear = || {
        let mut said = std::iter::repeat_with(|| {
            let mut buffer = [0; 256];
            let length = manager.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        });
        said.find(|said| !said.starts_with("FDSTORE")).unwrap()
    };
    host.launch_with(|agent| {
        agent.env("NOTIFY_SOCKET", &path);
    });
    assert_eq!(hear(), "READY=1");
    host.stop_agent(Signal::TERM);
    assert_eq!(hear(), "STOPPING=1");
}

fn make(tree: &Path, recipe: &str, variables: &[&str]) -> Output {
    let mut make = Command::new("make");
    make.arg("--no-print-directory")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .arg(recipe)
        .arg(format!("BINARY={}", binary().display()))
        .arg(format!("DESTDIR={}", tree.display()))
        .args(variables)
        .env_remove("MAKEFLAGS");
    run(&mut make)
}

/// All files and folders below `tree`.
fn files(tree: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            found.insert(entry.path().strip_prefix(tree).unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found
}
