//! Puts layers on ports and takes them off, while frames flow.
//!
//! # Theory of operation
//!
//! A port that wears something else is another [`Port`] of the same number. Each worker exchanges them between two of its rounds, after
//! what it had started to write to the first has been written, so its frames stay in order; and a flow is one worker's at a time.
//!
//! Only an impairment or a rate changes the device that is read. Then, before the exchange, the one that goes is told to settle: what it held back
//! on the way to the station leaves at once, and from then on it changes nothing. The reader stops when it has sent all that it had read,
//! and all that the device held on the way from the station; what comes meanwhile waits in the TAP. After the exchange it reads the
//! other. So nothing is lost, doubled or overtaken; what was held back comes early.

use std::sync::{Arc, Weak};

use switch_core::{Bridge, PortId, PortKind, lock};

use super::Switch;
use super::desk::Desk;
use crate::capture::{CaptureId, Recorder};
use crate::error::Dress;
use crate::events::SwitchEvent;
use crate::outfit::{CAPTURES_MAX, Layer, LayerKind, Outfit};
use crate::port::Port;
use crate::tap::set_carrier;
use crate::worker::WorkerHandle;

impl Switch {
    /// Puts a layer on a port, without losing a frame. One that it wears already is no error.
    pub fn dress(&self, id: PortId, layer: Layer) -> Result<(), Dress> {
        self.desk.dress(id, layer)
    }

    /// Takes a layer off a port, without losing a frame; frames that it held back leave at once. Says whether the port wore it.
    pub fn undress(&self, id: PortId, kind: LayerKind) -> bool {
        self.desk.undress(id, kind)
    }

    /// Pulls the plug of a port, or puts it in. While it is out nothing passes, and is counted as dropped
    /// ([`switch_core::DropReason::LinkDown`]). Says whether the port's station sees that by its carrier.
    pub fn set_link(&self, id: PortId, up: bool) -> Result<bool, Dress> {
        let port = self.desk.registry.port(id).ok_or(Dress::NoPort)?;
        port.set_down(!up);
        let shown = port.device.tap().map(|tap| set_carrier(tap, up));
        Ok(shown.is_some_and(|shown| shown.is_ok()))
    }

    /// Whether the port's plug is in.
    pub fn is_link_up(&self, id: PortId) -> Option<bool> {
        Some(!self.desk.registry.port(id)?.is_down())
    }

    /// Dresses every port of a network with a capture, and every port that comes to it later; each is called by its kind and number
    /// (`tap7`).
    pub fn capture_network(&self, bridge: &Arc<Bridge>, recorder: &Recorder) {
        self.desk.capture_network(bridge, recorder);
    }

    /// Undresses every port of a capture.
    pub fn end_capture(&self, capture: CaptureId) {
        self.desk.end_capture(capture);
    }

    /// From which port to which there are mirrors, by number.
    pub fn mirrors(&self) -> Vec<(PortId, PortId)> {
        let ports = self.desk.registry.all();
        let mirrors = ports
            .iter()
            .filter_map(|port| Some((port.id, port.outfit.mirror?)));
        mirrors.collect()
    }
}

impl Desk {
    fn dress(&self, id: PortId, layer: Layer) -> Result<(), Dress> {
        let mut workers = self.turn();
        let port = self.registry.port(id).ok_or(Dress::NoPort)?;
        let mut outfit = port.outfit.clone();
        match layer {
            Layer::Impairment(control) => {
                let kind = port.config.kind;
                if matches!(kind, PortKind::Edge | PortKind::Tunnel) {
                    return Err(Dress::NoCable(kind.name()));
                }
                outfit.impairment = Some(control);
            }
            Layer::Rate(control) => {
                let kind = port.config.kind;
                if matches!(kind, PortKind::Edge | PortKind::Tunnel) {
                    return Err(Dress::NoRate(kind.name()));
                }
                outfit.rate = Some(control);
            }
            Layer::Capture(recorder, name) => add_capture(&mut outfit, &port, &recorder, &name)?,
            Layer::Mirror(to) => {
                self.check_mirror(&port, to)?;
                outfit.mirror = Some(to);
            }
        }
        self.refit(&mut workers, &port, outfit)
    }

    fn undress(&self, id: PortId, kind: LayerKind) -> bool {
        let mut workers = self.turn();
        self.take_off(&mut workers, id, kind)
    }

    pub(super) fn take_off(
        &self,
        workers: &mut [WorkerHandle],
        id: PortId,
        kind: LayerKind,
    ) -> bool {
        let port = self.registry.port(id);
        let Some(port) = port.filter(|port| port.outfit.wears(kind)) else {
            return false;
        };
        // Only putting an impairment or a rate on can fail.
        self.refit(workers, &port, port.outfit.without(kind))
            .is_ok()
    }

    fn capture_network(&self, bridge: &Arc<Bridge>, recorder: &Recorder) {
        let mut workers = self.turn();
        let mut standing = lock(&self.standing);
        standing.retain(|(bridge, recorder)| bridge.strong_count() > 0 && !recorder.has_ended());
        standing.push((Arc::downgrade(bridge), recorder.clone()));
        drop(standing);
        let mut changes = Vec::new();
        for port in self.registry.all() {
            let mut outfit = port.outfit.clone();
            if Arc::ptr_eq(&port.bridge, bridge)
                && add_capture(&mut outfit, &port, recorder, &port_name(&port)).is_ok()
            {
                changes.push((port, outfit));
            }
        }
        self.refit_all(&mut workers, changes);
    }

    fn end_capture(&self, capture: CaptureId) {
        let mut workers = self.turn();
        lock(&self.standing).retain(|(_, recorder)| recorder.capture() != capture);
        let kind = LayerKind::Capture(capture);
        let mut wearers = self.registry.all();
        wearers.retain(|port| port.outfit.wears(kind));
        let changes = wearers.into_iter().map(|port| {
            let outfit = port.outfit.without(kind);
            (port, outfit)
        });
        self.refit_all(&mut workers, changes.collect());
    }

    /// A port that comes to a network that is captured.
    pub(super) fn dress_newcomer(&self, port: Port) -> Port {
        let mut outfit = Outfit::default();
        let is_here =
            |bridge: &Weak<Bridge>| std::ptr::eq(bridge.as_ptr(), Arc::as_ptr(&port.bridge));
        for (bridge, recorder) in lock(&self.standing).iter() {
            if is_here(bridge) && !recorder.has_ended() {
                // Beyond the most that a port can wear.
                let _ = add_capture(&mut outfit, &port, recorder, &port_name(&port));
            }
        }
        match outfit.is_recorded() {
            true => port.dressed(outfit).unwrap_or(port),
            false => port,
        }
    }

    /// Nothing is mirrored to a port that is gone.
    pub(super) fn end_mirrors_to(&self, workers: &mut [WorkerHandle], gone: PortId) {
        for id in self.registry.mirrored_to(gone) {
            self.take_off(workers, id, LayerKind::Mirror);
        }
    }

    fn check_mirror(&self, from: &Port, to: PortId) -> Result<(), Dress> {
        let target = self.registry.port(to).ok_or(Dress::NoPort)?;
        if !Arc::ptr_eq(&from.bridge, &target.bridge) {
            return Err(Dress::OtherNetwork);
        }
        let kind = target.config.kind;
        if matches!(kind, PortKind::Edge | PortKind::Tunnel) {
            return Err(Dress::NoMirrorTo(kind.name()));
        }
        let is_target = |port: &Arc<Port>| port.outfit.mirror == Some(from.id);
        if from.id == to
            || target.outfit.mirror.is_some()
            || self.registry.all().iter().any(is_target)
        {
            return Err(Dress::MirrorLoop);
        }
        Ok(())
    }

    /// One layer at a time: where the cable below a rate changes, the rate is taken off first and put on again.
    fn refit(&self, workers: &mut [WorkerHandle], old: &Port, outfit: Outfit) -> Result<(), Dress> {
        let stays = old.outfit.rate.is_some() && outfit.rate == old.outfit.rate;
        if stays && outfit.impairment != old.outfit.impairment {
            let id = old.id;
            let steps = [
                old.outfit.without(LayerKind::Rate),
                outfit.without(LayerKind::Rate),
                outfit,
            ];
            return steps.into_iter().try_for_each(|outfit| {
                let old = self.registry.port(id).ok_or(Dress::NoPort)?;
                self.change(workers, &old, outfit)
            });
        }
        self.change(workers, old, outfit)?;
        if !stays {
            old.keep_dropped();
        }
        Ok(())
    }

    fn change(
        &self,
        workers: &mut [WorkerHandle],
        old: &Port,
        outfit: Outfit,
    ) -> Result<(), Dress> {
        let new = Arc::new(old.dressed(outfit)?);
        let id = new.id;
        if new.has_device_of(old) {
            self.exchange(workers, &[new]);
            return Ok(());
        }
        if !new.wraps_device_of(old) {
            old.device.settle();
        }
        let reader = self.registry.stop(id);
        if let Some(reader) = reader {
            // A worker that cannot be replaced reads nothing.
            let _ = self.ask(workers, reader, |worker| worker.release(id));
        }
        self.exchange(workers, &[new]);
        if reader.is_some()
            && let Some(reader) = self.registry.begin(id)
            && let Err(error) = self.ask(workers, reader, |worker| worker.listen(id))
        {
            tracing::error!(port = id.0, %error, "a port cannot be read in what it wears");
            self.events.emit(SwitchEvent::PortGone(id));
        }
        Ok(())
    }

    /// The same of many ports, which keep their devices: workers do it together.
    fn refit_all(&self, workers: &mut [WorkerHandle], changes: Vec<(Arc<Port>, Outfit)>) {
        let changed = changes.into_iter().filter_map(|(old, outfit)| {
            // Only putting an impairment on can fail.
            old.dressed(outfit).ok().map(Arc::new)
        });
        self.exchange(workers, &changed.collect::<Vec<_>>());
    }

    /// Every worker has each port in place of the one before when this returns.
    fn exchange(&self, workers: &mut [WorkerHandle], ports: &[Arc<Port>]) {
        // First here, from where a worker that takes another's place has its ports.
        for port in ports {
            self.registry.exchange(Arc::clone(port));
        }
        let started = |worker: &WorkerHandle| {
            let started = ports
                .iter()
                .map(|port| worker.start_exchange(Arc::clone(port)));
            started.collect::<Vec<_>>()
        };
        let started: Vec<_> = workers.iter().map(started).collect();
        for (worker, started) in (0..).zip(started) {
            for (port, confirmation) in ports.iter().zip(started) {
                if confirmation.is_ok_and(|confirmation| confirmation.recv().is_ok()) {
                    continue;
                }
                // It has ended: what takes its place is asked again. That nothing does has been told.
                let _ = self.ask(workers, worker, |worker| worker.exchange(Arc::clone(port)));
            }
        }
    }
}

fn add_capture(
    outfit: &mut Outfit,
    port: &Port,
    recorder: &Recorder,
    name: &str,
) -> Result<(), Dress> {
    outfit.recorders.retain(|worn| !worn.has_ended());
    if outfit.wears(LayerKind::Capture(recorder.capture())) {
        return Ok(());
    }
    if outfit.recorders.len() >= CAPTURES_MAX {
        return Err(Dress::TooManyCaptures);
    }
    let recorder = recorder.of(port.id, name).ok_or(Dress::TooManyPorts)?;
    outfit.recorders.push(recorder);
    Ok(())
}

fn port_name(port: &Port) -> String {
    format!("{}{}", port.config.kind.name(), port.id.0)
}
