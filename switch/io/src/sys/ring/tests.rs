//! What becomes of buffers, reads and waits.

use std::io::Write;
use std::os::fd::AsFd;
use std::time::Instant;

use super::*;

const LAYOUT: BufferLayout = BufferLayout {
    count: 2,
    stride: 128,
    headroom: 16,
};

fn read(ring: &mut FrameRing) -> (io::Result<Filled>, bool) {
    loop {
        match ring.next_completion() {
            Some(Completion::Read {
                token: 7,
                result,
                armed,
            }) => return (result, armed),
            Some(other) => panic!("{other:?}"),
            None => ring.submit_and_wait(Duration::ZERO).unwrap(),
        }
    }
}

#[test]
fn a_buffer_returns_to_the_kernel_when_released_and_no_longer_written() {
    let mut ring = FrameRing::new(8, LAYOUT).unwrap();
    let (from, mut to) = std::io::pipe().unwrap();
    let (back, out) = std::io::pipe().unwrap();
    ring.read_multishot(from.as_fd(), 7).unwrap();
    for round in 0..10_u8 {
        to.write_all(&[round; 5]).unwrap();
        let received = read(&mut ring).0.unwrap();
        ring.bytes_mut(received)[0] = 0xff;
        assert_eq!(ring.bytes(received), [0xff, round, round, round, round]);
        ring.write(out.as_raw_fd(), received, 9).unwrap();
        ring.release(received.buffer);
        ring.submit_and_wait(Duration::ZERO).unwrap();
        let written = ring.next_completion();
        assert!(
            matches!(
                written,
                Some(Completion::Written {
                    token: 9,
                    result: Ok(5),
                    ..
                })
            ),
            "{written:?}"
        );
    }
    drop(back);
}

#[test]
fn a_read_without_buffers_stops_and_can_be_armed_again() {
    let mut ring = FrameRing::new(8, LAYOUT).unwrap();
    let (from, mut to) = std::io::pipe().unwrap();
    ring.read_multishot(from.as_fd(), 7).unwrap();
    to.write_all(&[1; 300]).unwrap();
    let first = read(&mut ring).0.unwrap();
    let second = read(&mut ring).0.unwrap();
    assert_eq!((first.len, second.len), (112, 112));
    let (result, armed) = read(&mut ring);
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ENOBUFS));
    assert!(!armed);
    ring.release(first.buffer);
    ring.read_multishot(from.as_fd(), 7).unwrap();
    assert_eq!(read(&mut ring).0.unwrap().len, 76);
}

#[test]
fn a_cancelled_read_completes_for_good() {
    let mut ring = FrameRing::new(8, LAYOUT).unwrap();
    let (from, _to) = std::io::pipe().unwrap();
    ring.read_multishot(from.as_fd(), 7).unwrap();
    ring.cancel_read(7).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        ring.submit_and_wait(Duration::ZERO).unwrap();
        seen.extend(std::iter::from_fn(|| ring.next_completion()));
    }
    assert!(seen.iter().any(|c| matches!(
        c,
        Completion::Read {
            result: Err(_),
            armed: false,
            ..
        }
    )));
}

#[test]
fn a_wait_with_a_least_time_takes_what_came_meanwhile() {
    let mut ring = FrameRing::new(8, LAYOUT).unwrap();
    assert!(
        ring.ring.params().is_feature_min_timeout(),
        "Linux 6.12 is needed"
    );
    let (from, mut to) = std::io::pipe().unwrap();
    ring.read_multishot(from.as_fd(), 7).unwrap();
    to.write_all(&[1; 5]).unwrap();
    let least = Duration::from_millis(5);
    let start = Instant::now();
    ring.submit_and_wait(least).unwrap();
    assert!(start.elapsed() >= least);
    assert_eq!(read(&mut ring).0.unwrap().len, 5);
}

#[test]
fn a_ring_takes_no_request_that_frames_do_not_need() {
    let mut ring = FrameRing::new(8, LAYOUT).unwrap();
    let other = opcode::Nop::new().build();
    let tagged = other.user_data(user_data(Kind::Cancel, 0, 7));
    ring.push(tagged).unwrap();
    ring.submit_and_wait(Duration::ZERO).unwrap();
    let Some(Completion::Cancelled { result, .. }) = ring.next_completion() else {
        panic!("an answer to the request");
    };
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EACCES));
}

#[test]
fn a_wait_with_a_least_time_ends_without_completions() {
    let mut ring = FrameRing::new(8, LAYOUT).unwrap();
    let (from, _to) = std::io::pipe().unwrap();
    ring.read_multishot(from.as_fd(), 7).unwrap();
    ring.submit_and_wait(Duration::from_millis(1)).unwrap();
    assert!(ring.next_completion().is_none());
}

/// The kernel counts waits for a disk in `procs_blocked` of /proc/stat, and shows them as "wa".
#[test]
fn a_wait_for_frames_is_not_counted_as_one_for_a_disk() {
    let (from, mut to) = std::io::pipe().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let mut ring = FrameRing::new(8, LAYOUT).unwrap();
        ring.read_multishot(from.as_fd(), 7).unwrap();
        tell.send(rustix::thread::gettid()).unwrap();
        read(&mut ring).0.unwrap().len
    });
    let thread = told.recv().unwrap().as_raw_nonzero();
    let call = || std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap();
    let is_waiting = || call().starts_with(&format!("{} ", libc::SYS_io_uring_enter));
    let none_blocked = || {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        stat.lines().any(|line| line == "procs_blocked 0")
    };
    let end = Instant::now() + Duration::from_secs(10);
    while !(is_waiting() && none_blocked()) {
        assert!(
            Instant::now() < end,
            "needs Linux 6.15, and no other program that waits for a disk all the time"
        );
        std::thread::yield_now();
    }
    to.write_all(&[1; 5]).unwrap();
    assert_eq!(waiting.join().unwrap(), 5);
}
