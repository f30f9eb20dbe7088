//! The frames of a network as they pass on all its hosts: the side that is asked.
//!
//! # Theory of operation
//!
//! Frames are shown to a host that has endpoints on the network: it may be sent them anyway. They are shown for [`SHOWN`] after its last
//! question, so many in a [`PAUSE`]; a network that is busier is sampled, as for those who follow it here ([`super::live`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_api::TraceLine;
use agent_core::trace::TraceLetter;
use overlay_core::HostId;
use tokio::sync::mpsc;
use tokio::time::{interval, sleep};

use super::super::Networks;
use super::live::Wish;
use crate::locks::lock;

/// To whom frames are shown, by host and its number; and since when they were not asked for.
#[derive(Default)]
pub(crate) struct Shown(BTreeMap<(HostId, u64), Instant>);

impl Networks {
    /// Another host's agent wrote.
    pub(crate) fn read_letter(self: &Arc<Self>, host: &HostId, body: &[u8]) {
        match TraceLetter::parse(body) {
            Some(TraceLetter::Follow {
                of,
                network,
                filter,
                drops,
            }) => {
                let wish = Wish {
                    network: &network,
                    filter: &filter,
                    drops_only: drops,
                };
                let answer = match self.show(host, of, &wish) {
                    Ok(()) => TraceLetter::Following { of },
                    Err(why) => TraceLetter::Refused { of, why },
                };
                self.sharing.write(host, &answer);
            }
            Some(answer) => self.hand_on(host, answer),
            None => tracing::debug!(%host, "a letter that this version does not know"),
        }
    }

    fn show(self: &Arc<Self>, host: &HostId, of: u64, wish: &Wish<'_>) -> Result<(), String> {
        let key = (host.clone(), of);
        let seen = self.see(wish.network).ok();
        let has_part = seen.is_some_and(|seen| seen.ways.hosts().contains(host));
        if !has_part {
            return Err("it shows them to hosts that have endpoints on the network".to_owned());
        }
        let mut shown = lock(&self.shown);
        if let Some(asked) = shown.0.get_mut(&key) {
            *asked = Instant::now();
            return Ok(());
        }
        if shown.0.len() >= SHOWN_MAX {
            return Err(format!("it is followed by {SHOWN_MAX} already"));
        }
        let (lines, read) = mpsc::channel(1);
        self.follow_here(wish, lines)
            .map_err(|refused| refused.message)?;
        shown.0.insert(key.clone(), Instant::now());
        drop(shown);
        self.ground.runtime.spawn(show(Arc::clone(self), key, read));
        Ok(())
    }

    fn is_asked_for(&self, key: &(HostId, u64)) -> bool {
        let shown = lock(&self.shown);
        let asked = shown.0.get(key);
        asked.is_some_and(|asked| asked.elapsed() < SHOWN)
    }
}

/// Writes what comes, until nobody asks for it any more, or the network is gone.
async fn show(networks: Arc<Networks>, key: (HostId, u64), mut lines: mpsc::Receiver<TraceLine>) {
    let mut look = interval(SHOWN / 2);
    let mut number = 0;
    loop {
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = look.tick() => match networks.is_asked_for(&key) {
                true => continue,
                false => None,
            },
        };
        let Some(line) = line else {
            break;
        };
        let TraceLine::Sight(sight) = line else {
            continue;
        };
        let letter = TraceLetter::Sight {
            of: key.1,
            number,
            sight,
        };
        // One that is not sent is missing there as one that was lost.
        networks.sharing.write(&key.0, &letter);
        number += 1;
        if number % BURST == 0 {
            sleep(PAUSE).await;
        }
    }
    lock(&networks.shown).0.remove(&key);
}

/// How long frames are shown after the last question.
const SHOWN: Duration = Duration::from_secs(4);
/// Those who follow networks of this host from others.
const SHOWN_MAX: usize = 16;
/// How many frames are shown at once, and how long the next ones wait.
const BURST: u64 = 32;
const PAUSE: Duration = Duration::from_millis(50);
