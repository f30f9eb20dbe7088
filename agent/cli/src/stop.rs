//! `tapestry stop`: end containers, gently first.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use agent_api::{Client, Stop};
use tokio::time::{Instant, sleep_until};

use crate::failure::{Failure, for_each_name};
use crate::output;

/// Stop containers: SIGTERM, and SIGKILL some seconds later
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seconds to wait before SIGKILL; 10 where absent
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS")]
    timeout: Option<u32>,
    /// Names or ids of containers
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    for_each_name(&args.names, async |name| {
        stop(name, args.timeout, client).await?;
        output::print(&format!("{name}\n"))
    })
    .await
}

/// Stops a container. Who sits at a terminal is told what it waits for, where that takes a while.
pub(crate) async fn stop(
    name: &str,
    timeout_s: Option<u32>,
    client: &Client,
) -> Result<(), Failure> {
    let request = Stop { timeout_s };
    let stopping = client.stop_container(name, &request);
    tokio::pin!(stopping);
    for (at_s, told) in news(name, timeout_s.unwrap_or(Stop::TIMEOUT_S)) {
        let at = Instant::now() + at_s;
        tokio::select! {
            stopped = &mut stopping => return Ok(stopped?),
            () = sleep_until(at) => if stderr().is_terminal() {
                eprintln!("{told}");
            },
        }
    }
    Ok(stopping.await?)
}

/// What is told while it goes on, and how long after what was told before.
fn news(name: &str, timeout_s: u32) -> Vec<(Duration, String)> {
    let patience = Duration::from_secs(timeout_s.into());
    let mut news = Vec::new();
    if patience > PAUSE {
        let left_s = timeout_s - 1;
        let told =
            format!("{name} got SIGTERM and has not ended yet; it gets SIGKILL in {left_s} s");
        news.push((PAUSE, told));
    }
    let told = format!("{name} got SIGKILL, and what it has of the network is taken away");
    let rest = patience.saturating_sub(if news.is_empty() {
        Duration::ZERO
    } else {
        PAUSE
    });
    news.push((rest + PAUSE, told));
    news
}

const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn told(timeout_s: u32) -> Vec<(u64, String)> {
        let news = news("web", timeout_s).into_iter();
        news.map(|(after, text)| (after.as_secs(), text)).collect()
    }

    #[test]
    fn it_is_told_what_is_waited_for() {
        let long = told(10);
        assert_eq!(long.len(), 2);
        assert_eq!((long[0].0, long[1].0), (1, 10));
        assert!(long[0].1.ends_with("it gets SIGKILL in 9 s"), "{long:?}");
        let short = told(0);
        assert_eq!((short.len(), short[0].0), (1, 1), "{short:?}");
        assert!(short[0].1.starts_with("web got SIGKILL"), "{short:?}");
    }
}
