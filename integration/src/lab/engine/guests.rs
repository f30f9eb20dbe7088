//! Bringing the engines' containers up and taking them away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use agent_api::{ContainerState, ContainerSummary};

use super::arguments::{
    EMPTY_IMAGE, Links, Resolver, STANDING, between, create, exec, sleeper, stands,
};
use super::command::{feed, output, tell};
use super::{Guest, Runtime, Unable};

impl Links {
    /// Of a process of the node's.
    fn of(pid: i32) -> Option<Self> {
        let resolver = fs::read_to_string(format!("/proc/{pid}/root/etc/resolv.conf"));
        Some(Self {
            pid,
            namespace: namespace(pid)?,
            resolver: Resolver::read(&resolver.unwrap_or_default()),
        })
    }
}

/// Which network namespace a process is in.
fn namespace(pid: i32) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Those of the agent's containers of which the engine's counterpart runs, and on their links.
pub(in crate::lab) async fn look(containers: &[(&ContainerSummary, Runtime)]) -> BTreeSet<String> {
    let mut well = BTreeSet::new();
    for runtime in [Runtime::Docker, Runtime::Podman] {
        let of_it = containers.iter().filter(|(_, engine)| *engine == runtime);
        let of_it: BTreeMap<&str, &ContainerSummary> = of_it
            .map(|(container, _)| (container.name.as_str(), *container))
            .collect();
        if of_it.is_empty() {
            continue;
        }
        let mut words = vec!["container", "inspect", "--format", STANDING];
        words.extend(of_it.keys());
        // Fails when one is missing, and tells of the others nevertheless.
        let Ok(told) = output(runtime, &words).await else {
            continue;
        };
        for line in String::from_utf8_lossy(&told.stdout).lines() {
            let Some((name, Some(pid))) = stands(line) else {
                continue;
            };
            let holder = of_it.get(name).map(|container| container.state);
            if let Some(ContainerState::Running { pid: holder }) = holder
                && namespace(holder).is_some_and(|its| namespace(pid) == Some(its))
            {
                well.insert(name.to_owned());
            }
        }
    }
    well
}

/// Gets what is not there yet, before anything is made: images from their registry.
pub(in crate::lab) async fn prepare(runtime: Runtime, image: &str) -> Result<(), Unable> {
    let known = ["image", "inspect", "--format", "{{.Id}}", image];
    if tell(runtime, &known).await.is_err() {
        tell(runtime, &["pull", "--quiet", image]).await?;
    }
    let known = ["image", "inspect", "--format", "{{.Id}}", EMPTY_IMAGE];
    if runtime == Runtime::Docker && tell(runtime, &known).await.is_err() {
        import_empty_image().await?;
    }
    Ok(())
}

async fn import_empty_image() -> Result<(), Unable> {
    let runtime = Runtime::Docker;
    let refused = |why: String| Unable::Refused {
        runtime,
        verb: "import".to_owned(),
        why,
    };
    let imported = feed(runtime, &["import", "-", EMPTY_IMAGE], &[0; EMPTY_TAR]).await;
    let imported = imported.map_err(|error| refused(error.to_string()))?;
    match imported.status.success() {
        true => Ok(()),
        false => Err(refused(super::arguments::reason(&String::from_utf8_lossy(
            &imported.stderr,
        )))),
    }
}

/// No other lab may use it.
pub(in crate::lab) async fn remove_empty_image() {
    let _ = tell(Runtime::Docker, &["image", "rm", EMPTY_IMAGE]).await;
}

/// Makes a node's container, starts it and has it do its tasks. Returns what it said of those that failed. `pid` is of the
/// agent's container of that name.
pub(in crate::lab) async fn run(
    runtime: Runtime,
    name: &str,
    guest: &Guest,
    pid: i32,
) -> Result<Vec<String>, Unable> {
    let links = Links::of(pid).ok_or(Unable::Apart { runtime })?;
    if runtime == Runtime::Docker && !guest.is_host {
        let dirs = HOST_DIRS.iter().filter(|dir| Path::new(dir).is_dir());
        let dirs: Vec<&str> = dirs.copied().collect();
        let words = sleeper(name, guest, &links, &dirs);
        tell(runtime, &as_words(&words)).await?;
        await_sleeper(name, &links).await?;
    }
    let words = create(runtime, name, guest, &links);
    tell(runtime, &as_words(&words)).await?;
    for copy in &guest.copies {
        let from = format!("{}/.", copy.display());
        tell(runtime, &["cp", &from, &format!("{name}:/")]).await?;
    }
    tell(runtime, &["start", name]).await?;
    let mut failed = Vec::new();
    for task in &guest.image.tasks {
        let words = exec(name, task, false, false);
        let done = output(runtime, &as_words(&words)).await;
        let status = match done {
            Ok(done) if done.status.success() => continue,
            Ok(done) => done.status.code().unwrap_or(KILLED),
            Err(_) => KILLED,
        };
        failed.push(format!("exit status {status}: {}", task.join(" ")));
    }
    Ok(failed)
}

/// Docker looks where the sleeper is when the node starts, so it has to be there by then.
async fn await_sleeper(name: &str, links: &Links) -> Result<(), Unable> {
    let runtime = Runtime::Docker;
    let between = between(name);
    let words = ["container", "inspect", "--format", STANDING, &between];
    let deadline = tokio::time::Instant::now() + SLEEPER_LIMIT;
    while tokio::time::Instant::now() < deadline {
        let told = tell(runtime, &words).await?;
        let Some((_, Some(pid))) = stands(&told) else {
            break;
        };
        if namespace(pid).as_deref() == Some(links.namespace.as_str()) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Unable::Apart { runtime })
}

/// Takes a node's container away, after it did what it does at its end. One that is not there is fine.
pub(in crate::lab) async fn remove(
    runtime: Runtime,
    name: &str,
    at_end: Option<&str>,
) -> Result<(), Unable> {
    if let Some(line) = at_end {
        let words = exec(name, &["sh".into(), "-c".into(), line.into()], false, false);
        let words = as_words(&words);
        let ending = output(runtime, &words);
        // One that does not end is ended.
        let _ = tokio::time::timeout(END_LIMIT, ending).await;
    }
    let between = between(name);
    let names: &[&str] = match runtime {
        Runtime::Docker => &[name, &between],
        Runtime::Podman => &[name],
    };
    for name in names {
        match tell(runtime, &["rm", "--force", "--volumes", name]).await {
            Err(Unable::Refused { why, .. }) if is_missing(&why) => {}
            removed => drop(removed?),
        }
    }
    Ok(())
}

fn is_missing(why: &str) -> bool {
    let why = why.to_ascii_lowercase();
    why.contains("no such container") || why.contains("no container with")
}

fn as_words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// What the host's programs are in, and what they need to run.
const HOST_DIRS: [&str; 5] = ["/bin", "/lib", "/lib64", "/sbin", "/usr"];
/// Two blocks of zeros end an archive (POSIX, pax, "ustar Interchange Format").
const EMPTY_TAR: usize = 1024;
/// What is told of a task that ended in no other way.
const KILLED: i32 = 137;
const SLEEPER_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
