//! What is to go wrong at a link, whatever it joins, as the switch has it and as people see it.

use std::io;

use agent_api::{LinkCounts, LinkSettings};
use switch_core::PortId;
use switch_core::impairment::LineCounts;
use switch_io::{ImpairmentControl, ImpairmentCounts, Layer, LayerKind, Switch};

use crate::random::random_seed;

/// Has a port wear what is set, in place of what it has `worn`. In its owner's turn.
pub(crate) fn wear(
    switch: &Switch,
    port: PortId,
    worn: Option<ImpairmentControl>,
    settings: &LinkSettings,
) -> io::Result<Option<ImpairmentControl>> {
    let (from, to) = (settings.from.to_core(), settings.to.to_core());
    let seed = settings.seed.unwrap_or_default();
    match (worn, settings.are_none()) {
        (None, true) => Ok(None),
        (Some(_), true) => {
            switch.undress(port, LayerKind::Impairment);
            Ok(None)
        }
        (Some(worn), false) => {
            worn.set(from, to, seed);
            Ok(Some(worn))
        }
        (None, false) => {
            let control = ImpairmentControl::new(from, to, seed)?;
            let dressed = switch.dress(port, Layer::Impairment(control.clone()));
            dressed.map_err(io::Error::other)?;
            Ok(Some(control))
        }
    }
}

/// One is made up where something is set, and goes where nothing is.
pub(crate) fn with_seed(settings: LinkSettings) -> LinkSettings {
    if settings.are_none() {
        return LinkSettings {
            seed: None,
            ..settings
        };
    }
    // Of as many digits as people copy.
    let made_up = || random_seed() >> 32;
    LinkSettings {
        seed: settings.seed.or_else(|| Some(made_up())),
        ..settings
    }
}

pub(crate) fn shown(counts: ImpairmentCounts) -> LinkCounts {
    let ImpairmentCounts {
        frames: frames_of_wire,
        waiting,
        refused,
    } = counts;
    let LineCounts {
        frames,
        sent,
        lost,
        duplicated,
        corrupted,
        reordered,
        delayed,
        overflowed,
    } = frames_of_wire;
    LinkCounts {
        frames,
        sent,
        lost,
        duplicated,
        corrupted,
        reordered,
        delayed,
        overflowed,
        refused,
        waiting,
    }
}
