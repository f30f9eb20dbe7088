//! Endpoints whose network the cluster removed while this host was away: they stay, plugged out.

use super::{Endpoints, Place};

impl Endpoints {
    /// Takes the endpoints of a network off every wire, then the network.
    pub(crate) fn cut_off(&self, place: &Place) {
        // Nobody comes any more, and nothing comes out.
        place.seats.shut();
        self.plug_out(place);
        self.networks.cut_off(place);
        // Whoever was coming is there by now.
        self.plug_out(place);
        for attached in place.seats.attached() {
            let record = &attached.record;
            let _turn = self.turns.take(record.owner.clone());
            self.lead_ports(&record.owner);
            self.filter.forget_connections(&record.addresses());
            self.sharing.unshare(record);
        }
    }

    fn plug_out(&self, place: &Place) {
        for attached in place.seats.attached() {
            let _turn = self.turns.take(attached.record.owner.clone());
            if let Err(error) = self.take_down(place, &attached.record.id) {
                self.ground.warn(format!(
                    "endpoint {:?} keeps its carrier, though its network {:?} is gone: {error}",
                    attached.record.name, place.record.name
                ));
            }
        }
    }
}
