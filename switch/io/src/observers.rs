//! Frames as they pass, for whoever watches a network.
//!
//! # Theory of operation
//!
//! A worker looks at one flag a batch, and no more as long as nobody watches. While somebody does, it tells of each frame of a
//! network that is watched, with its verdict, before it sends the batch; and of the frames that a device did not take, which
//! it knows by their number only. It tells by a call that must not wait: what a watcher has no room for is lost to him, and
//! never to the network.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use switch_core::policy::Judgement;
use switch_core::{Bridge, DropReason, PortId, Summary, Verdict};

/// Who is told of the frames of a network. The call comes from a worker between two batches: it must neither wait nor panic.
pub trait Observer: Send + Sync {
    fn see(&self, sight: &Sight);
}

/// A frame, or several that a device did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    pub ingress: PortId,
    /// The device that did not take it.
    pub egress: Option<PortId>,
    /// Absent where the bytes are no frame, and where only a number is known.
    pub summary: Option<Summary>,
    pub verdict: Verdict,
    /// Of one that the access list dropped: where it would have left, and what decided.
    pub denied: Option<(PortId, Judgement)>,
    pub frames: u64,
}

/// Those who watch, as workers and the switch's owner share them.
#[derive(Clone, Default)]
pub(crate) struct Observers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    are_there: AtomicBool,
    watches: ArcSwap<Vec<Arc<Watch>>>,
    /// Held by who comes or goes.
    turn: Mutex<()>,
}

struct Watch {
    bridge: Arc<Bridge>,
    observer: Box<dyn Observer>,
}

/// Watches until it is dropped.
pub struct Observing {
    observers: Observers,
    watch: Arc<Watch>,
}

impl Observers {
    pub(crate) fn watch(&self, bridge: &Arc<Bridge>, observer: Box<dyn Observer>) -> Observing {
        let watch = Arc::new(Watch {
            bridge: Arc::clone(bridge),
            observer,
        });
        self.change(|watches| watches.push(Arc::clone(&watch)));
        Observing {
            observers: self.clone(),
            watch,
        }
    }

    /// Whether anybody watches anything.
    #[inline]
    pub(crate) fn are_there(&self) -> bool {
        self.0.are_there.load(Ordering::Relaxed)
    }

    /// Tells of what is `seen` on a bridge that somebody watches.
    pub(crate) fn tell(&self, bridge: &Arc<Bridge>, seen: impl Fn() -> Sight) {
        let watches = self.0.watches.load();
        let mut theirs = watches
            .iter()
            .filter(|watch| Arc::ptr_eq(&watch.bridge, bridge))
            .peekable();
        if theirs.peek().is_some() {
            let sight = seen();
            theirs.for_each(|watch| watch.observer.see(&sight));
        }
    }

    /// Tells of frames that a device did not take.
    pub(crate) fn tell_of_loss(
        &self,
        bridge: &Arc<Bridge>,
        (ingress, egress): (PortId, PortId),
        (reason, frames): (DropReason, u64),
    ) {
        self.tell(bridge, || Sight {
            ingress,
            egress: Some(egress),
            summary: None,
            verdict: Verdict::Drop(reason),
            denied: None,
            frames,
        });
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Watch>>)) {
        let shared = &*self.0;
        let _turn = shared.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut watches = Vec::clone(&shared.watches.load());
        change(&mut watches);
        let are_there = !watches.is_empty();
        shared.watches.store(Arc::new(watches));
        shared.are_there.store(are_there, Ordering::Relaxed);
    }
}

impl Drop for Observing {
    fn drop(&mut self) {
        self.observers
            .change(|watches| watches.retain(|watch| !Arc::ptr_eq(watch, &self.watch)));
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers")
            .field("are_there", &self.are_there())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use switch_core::BridgeConfig;

    use super::*;

    struct Teller(Sender<Sight>);

    impl Observer for Teller {
        fn see(&self, sight: &Sight) {
            let _ = self.0.send(*sight);
        }
    }

    #[test]
    fn only_what_is_watched_is_told_and_only_as_long() {
        let observers = Observers::default();
        let [lab, other] = [(); 2].map(|()| Arc::new(Bridge::new(BridgeConfig::default())));
        assert!(!observers.are_there());
        let (teller, told) = channel();
        let watch = observers.watch(&lab, Box::new(Teller(teller)));
        assert!(observers.are_there());
        let ways = (PortId(1), PortId(2));
        observers.tell_of_loss(&other, ways, (DropReason::QueueFull, 7));
        assert!(told.try_recv().is_err());
        observers.tell_of_loss(&lab, ways, (DropReason::QueueFull, 3));
        let sight = told.try_recv().unwrap();
        assert_eq!((sight.frames, sight.egress), (3, Some(PortId(2))));
        drop(watch);
        assert!(!observers.are_there());
        assert!(told.recv().is_err(), "the observer is gone");
    }
}
