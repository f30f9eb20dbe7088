//! What is recorded, and what is lost.

use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use switch_core::bpf::Instruction;
use switch_core::{DropReason, Gso, VnetHeader};

use super::*;
use crate::samples::udp_envelope;

fn see(recorder: &Recorder, worker: usize, envelope: &[u8]) {
    let sight = Sight {
        time: SystemTime::now(),
        direction: Direction::In,
        envelope,
        dropped: None,
    };
    recorder.record(worker, &sight);
}

fn is_readable(capture: &Capture) -> bool {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(capture, PollFlags::IN)], Some(&now)).unwrap() == 1
}

fn capture(settings: CaptureSettings) -> (Capture, Recorder) {
    let capture = Capture::new(settings).unwrap();
    let recorder = capture.recorder().of(PortId(7), "web").unwrap();
    (capture, recorder)
}

#[test]
fn a_record_says_what_was_seen() {
    let (capture, recorder) = capture(CaptureSettings {
        snaplen: 20,
        ..CaptureSettings::default()
    });
    let envelope = udp_envelope(3);
    let before = SystemTime::now();
    recorder.record(
        0,
        &Sight {
            time: SystemTime::now(),
            direction: Direction::Out,
            envelope: &envelope,
            dropped: Some(DropReason::QueueFull),
        },
    );
    let mut records = Records::default();
    assert_eq!(capture.read_into(&mut records), 1);
    let record = records.iter().next().unwrap();
    assert_eq!(capture.interfaces()[record.interface].name, "web");
    assert_eq!(capture.interfaces()[record.interface].port, PortId(7));
    assert_eq!(record.direction, Direction::Out);
    assert_eq!(record.dropped, Some(DropReason::QueueFull));
    assert_eq!(record.original_len, envelope.len() - VnetHeader::LEN);
    assert_eq!(record.bytes, &envelope[VnetHeader::LEN..][..20]);
    assert!(record.vnet.open_checksum().is_some() && record.vnet.gso() == Some(Gso::None));
    let since = record.time.duration_since(before);
    assert!(since.is_ok() && record.time <= SystemTime::now());
}

#[test]
fn what_finds_no_room_is_lost_and_counted_until_somebody_reads() {
    let envelope = udp_envelope(0);
    let (capture, recorder) = capture(CaptureSettings {
        capacity_bytes: 10 * Lane::room_for(envelope.len() - VnetHeader::LEN),
        ..CaptureSettings::default()
    });
    let mut records = Records::default();
    for round in 1..=3 {
        for _ in 0..25 {
            see(&recorder, 0, &envelope);
        }
        assert_eq!(capture.read_into(&mut records), 10);
        assert_eq!(
            (capture.recorded(), capture.lost()),
            (10 * round, 15 * round)
        );
    }
}

#[test]
fn records_of_all_workers_come_in_the_order_of_their_time() {
    let (capture, recorder) = capture(CaptureSettings::default());
    for n in 0..100_u8 {
        see(&recorder, usize::from(n % 3), &udp_envelope(n));
    }
    let mut records = Records::default();
    assert_eq!(capture.read_into(&mut records), 100);
    let seen: Vec<_> = records.iter().map(|record| record.bytes[19]).collect();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert_eq!(capture.read_into(&mut records), 0);
    assert!(records.is_empty());
}

#[test]
fn the_descriptor_tells_of_what_came_since_the_last_read() {
    let (capture, recorder) = capture(CaptureSettings::default());
    let mut records = Records::default();
    for _ in 0..3 {
        assert!(!is_readable(&capture));
        see(&recorder, 0, &udp_envelope(0));
        see(&recorder, 1, &udp_envelope(1));
        assert!(is_readable(&capture));
        assert_eq!(capture.read_into(&mut records), 2);
    }
}

#[test]
fn a_filter_says_what_is_wanted_and_how_much_of_it() {
    // ip[5] = 3 (the end of its identification): ten bytes.
    let step = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let filter = Program::new(vec![
        step(0x30, 0, 0, 19),
        step(0x15, 0, 1, 3),
        step(0x06, 0, 0, 10),
        step(0x06, 0, 0, 0),
    ]);
    let (capture, recorder) = capture(CaptureSettings {
        filter: Some(filter.unwrap()),
        ..CaptureSettings::default()
    });
    for n in 0..6 {
        see(&recorder, 0, &udp_envelope(n));
    }
    let mut records = Records::default();
    assert_eq!(capture.read_into(&mut records), 1);
    assert_eq!(records.iter().next().unwrap().bytes.len(), 10);
    assert_eq!(capture.lost(), 0);
}

#[test]
fn a_capture_has_had_so_many_ports() {
    let (capture, recorder) = capture(CaptureSettings::default());
    assert!(
        (8..)
            .map(PortId)
            .take(16_383)
            .all(|port| recorder.of(port, "a").is_some())
    );
    assert!(recorder.of(PortId(99_999), "a").is_none());
    assert!(recorder.of(PortId(7), "web").is_some());
    assert_eq!(capture.interfaces().len(), 16_384);
}

#[test]
fn nothing_is_recorded_for_a_reader_that_is_gone() {
    let (capture, recorder) = capture(CaptureSettings::default());
    drop(capture);
    assert!(recorder.has_ended());
    see(&recorder, 0, &udp_envelope(0));
    assert_eq!(recorder.shared.recorded.load(Ordering::Relaxed), 0);
}
