//! Which ports one worker hands to another.

use switch_core::PortId;

/// A port and how much work it has been lately.
pub(super) type Weighed = (PortId, u64);

/// The ports that an overloaded worker, which reads `ports`, should hand to one that already has `there` to do. Empty when
/// that would not take the busier of the two at least a twentieth of its work.
pub(super) fn handed_over(mut ports: Vec<Weighed>, there: u64) -> Vec<PortId> {
    let before = ports.iter().map(|(_, work)| work).sum::<u64>().max(there);
    ports.sort_by_key(|(id, work)| (std::cmp::Reverse(*work), *id));
    let (mut here, mut there) = (0, there);
    let mut moved = Vec::new();
    for (id, work) in ports {
        if here <= there {
            here += work;
        } else if work > 0 {
            there += work;
            moved.push(id);
        }
    }
    if here.max(there) < before - before / 20 {
        return moved;
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(works: &[u64], there: u64) -> Vec<u32> {
        let ports = (0..).map(PortId).zip(works.iter().copied()).collect();
        handed_over(ports, there).iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_answers_to_a_stream_leave_it() {
        assert_eq!(moved(&[100, 40, 0], 0), [1]);
        assert_eq!(moved(&[40, 100, 0], 0), [0]);
    }

    #[test]
    fn equal_ports_are_halved() {
        assert_eq!(moved(&[10, 10, 10, 10], 0), [1, 3]);
    }

    #[test]
    fn idle_ports_stay() {
        assert_eq!(moved(&[0, 0, 0], 0), []);
        assert_eq!(moved(&[10, 0, 0], 0), []);
    }

    #[test]
    fn nothing_moves_for_little() {
        assert_eq!(moved(&[100, 4], 0), []);
        assert_eq!(moved(&[60, 60], 117), []);
    }

    #[test]
    fn one_that_is_busier_gets_nothing() {
        assert_eq!(moved(&[10, 10], 100), []);
    }
}
