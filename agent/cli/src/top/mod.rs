//! `tapestry top`: what goes through this host's networks, as it happens.
//!
//! [`State`] has what was asked of the agent and which keys were pressed; what is on the screen is a function of it. Here is what asks, reads
//! keys and draws.

mod grid;
mod sample;
mod state;
mod terminal;
mod views;

use std::io::{IsTerminal, stdin, stdout};
use std::pin::pin;
use std::time::Duration;

use agent_api::{Client, ClientError};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use self::sample::Sample;
use self::state::{Key, State};
use self::terminal::Terminal;
use crate::failure::Failure;
use crate::{output, screen};

/// Watch this host's networks, ports, drops, tunnels, names and workers as they work
///
/// Keys: Tab and 1 to 6 choose what is shown, Enter goes into a network and Esc out of it, s and r sort, / filters, q ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print one frame as text and end; so it is where standard output is no terminal
    #[arg(long)]
    once: bool,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    delay: u64,
    /// This network's ports only
    network: Option<String>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let delay = Duration::from_secs(args.delay);
    let mut state = State::new(Sample::take(client).await?);
    if let Some(called) = &args.network {
        let name = client.network(called).await?.summary.name;
        state.enter(&name);
    }
    if args.once || !stdout().is_terminal() || !stdin().is_terminal() {
        sleep(delay).await;
        state.update(Sample::take(client).await?);
        let look = screen::look();
        let width = look.width.unwrap_or(WIDTH);
        let lines = state.page(width, look.colours);
        output::print(&(lines.join("\n") + "\n"))?;
        return Ok(0);
    }
    watch(state, delay, client).await
}

/// Until somebody presses q.
async fn watch(mut state: State, delay: Duration, client: &Client) -> Result<u8, Failure> {
    let mut terminal = Terminal::enter()?;
    let mut keys = terminal.keys()?;
    loop {
        terminal.draw(&state)?;
        let mut watched = Watched {
            state: &mut state,
            terminal: &mut terminal,
            keys: &mut keys,
        };
        if watched.until(sleep(delay)).await?.is_none() {
            return Ok(0);
        }
        let Some(sample) = watched.look(client).await? else {
            return Ok(0);
        };
        match sample {
            Ok(sample) => state.update(sample),
            // It may be started again.
            Err(error) => state.complain(error.to_string()),
        }
    }
}

/// The screen, and who is before it.
struct Watched<'s> {
    state: &'s mut State,
    terminal: &'s mut Terminal,
    keys: &'s mut mpsc::Receiver<Key>,
}

impl Watched<'_> {
    /// What the agent says, however long it takes; `None` at the end.
    async fn look(
        &mut self,
        client: &Client,
    ) -> Result<Option<Result<Sample, ClientError>>, Failure> {
        let mut asked = pin!(Sample::take(client));
        loop {
            match self.until(timeout(PATIENCE, &mut asked)).await? {
                None => return Ok(None),
                Some(Ok(answered)) => return Ok(Some(answered)),
                Some(Err(_)) => {
                    self.state.complain("the agent does not answer".to_owned());
                    self.terminal.draw(self.state)?;
                }
            }
        }
    }

    /// Does what is pressed until something has happened; `None` at the end.
    async fn until<T>(&mut self, event: impl Future<Output = T>) -> Result<Option<T>, Failure> {
        let mut event = pin!(event);
        loop {
            tokio::select! {
                happened = &mut event => return Ok(Some(happened)),
                key = self.keys.recv() => match key {
                    None => return Ok(None),
                    Some(key) if self.state.press(key).is_none() => return Ok(None),
                    Some(_) => self.terminal.draw(self.state)?,
                },
            }
        }
    }
}

/// Where nobody knows it.
const WIDTH: usize = 80;
/// Who has no answer for so long is told so.
const PATIENCE: Duration = Duration::from_secs(3);
