//! Slots: frames that have come together leave together, as behind a radio that sends when it is its turn.

use std::time::Duration;

use super::chance::{Numbers, Use};

/// When slots come and what one takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// From the first frame that waits for a slot, or from a full slot, to the next one: at least, and at most.
    pub min: Duration,
    pub max: Duration,
    /// Zero: any number.
    pub packets: u64,
    /// A slot ends with the frame that reaches it. Zero: any number.
    pub bytes: u64,
}

/// The slot that is next or now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slots {
    opens_at: Duration,
    packets: u64,
    bytes: u64,
    number: u64,
}

impl Slots {
    /// When a frame that is `due` then leaves.
    pub(super) fn admits_at(&mut self, slot: &Slot, due: Duration, numbers: Numbers) -> Duration {
        if due > self.opens_at {
            self.open_after(slot, due, numbers);
        }
        self.opens_at
    }

    /// A frame has left in the slot, at `now`.
    pub(super) fn take(&mut self, slot: &Slot, now: Duration, bytes: u64, numbers: Numbers) {
        self.packets += 1;
        self.bytes += bytes;
        let is_full = (slot.packets > 0 && self.packets >= slot.packets)
            || (slot.bytes > 0 && self.bytes >= slot.bytes);
        if is_full {
            self.open_after(slot, now, numbers);
        }
    }

    fn open_after(&mut self, slot: &Slot, from: Duration, numbers: Numbers) {
        let spread = slot.max.saturating_sub(slot.min);
        let more = spread.mul_f64(numbers.unit(self.number, Use::Slot));
        *self = Self {
            opens_at: from.saturating_add(slot.min).saturating_add(more),
            packets: 0,
            bytes: 0,
            number: self.number + 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_is_due_before_a_slot_leaves_in_it_until_it_is_full() {
        let (slot, numbers) = (
            Slot {
                min: 10 * MS,
                max: 10 * MS,
                packets: 2,
                bytes: 0,
            },
            Numbers::new(1),
        );
        let mut slots = Slots::default();
        assert_eq!(slots.admits_at(&slot, MS, numbers), 11 * MS);
        slots.take(&slot, 11 * MS, 100, numbers);
        assert_eq!(slots.admits_at(&slot, 2 * MS, numbers), 11 * MS);
        slots.take(&slot, 11 * MS, 100, numbers);
        assert_eq!(slots.admits_at(&slot, 3 * MS, numbers), 21 * MS);
        assert_eq!(slots.admits_at(&slot, 50 * MS, numbers), 60 * MS);
    }

    #[test]
    fn the_frame_that_reaches_the_bytes_is_the_last_and_spacing_is_drawn() {
        let slot = Slot {
            min: 5 * MS,
            max: 15 * MS,
            packets: 0,
            bytes: 1500,
        };
        let numbers = Numbers::new(1);
        let mut slots = Slots::default();
        let first = slots.admits_at(&slot, MS, numbers);
        slots.take(&slot, first, 1000, numbers);
        assert_eq!(slots.admits_at(&slot, MS, numbers), first);
        slots.take(&slot, first, 1000, numbers);
        let mut last = first;
        for _ in 0..50 {
            let next = slots.admits_at(&slot, MS, numbers);
            assert!((5 * MS..=15 * MS).contains(&(next - last)));
            slots.take(&slot, next, 2000, numbers);
            last = next;
        }
    }
}
