//! What a member asks of a manager's store and what it is told, as messages and as the stream that they come by.
//!
//! An input is a kind, then JSON or the bytes of the stream.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use agent_store::wire::{Asked, Said, decode, receive, send};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Target;
use crate::input::kind;

pub(crate) const TARGET: Target = Target {
    name: "store",
    run,
    length_max: 1024,
    words: &[
        b"{\"number\":1,\"call\":",
        b"{\"transact\":[",
        b"{\"key\":\"endpoint/n/e\",\"expected\":\"absent\",\"value\":null,\"lease\":7}",
        b"\"expected\":{\"revision\":3}",
        b"{\"watch\":\"\"}",
        b"{\"answer\":{\"number\":1,\"answer\":",
        b"{\"event\":{\"number\":1,\"event\":",
        b"\"lagged\"",
        b"{\"failed\":{\"denied\":",
        b"18446744073709551615",
        b"\x00\x00\x00\x1a{\"number\":1,\"call\":\"ping\"}",
        b"\xff\xff\xff\xff",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, bytes)) = kind(input) else {
        return;
    };
    match kind {
        b'a' => drop(read_again::<Asked>(bytes)),
        b's' => drop(read_again::<Said>(bytes)),
        b'f' => drop(messages(bytes)),
        _ => {}
    }
}

/// What is read is written so that it is read as the same. What is not understood is not repeated: a secret may be in it.
fn read_again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    text: &[u8],
) -> Option<T> {
    match decode::<T>(text) {
        Ok(message) => {
            let written = serde_json::to_vec(&message).expect("a message can be written");
            assert_eq!(decode::<T>(&written).as_ref(), Ok(&message));
            Some(message)
        }
        Err(error) => {
            assert!(error.to_string().len() < 60, "{error}");
            None
        }
    }
}

/// The calls of a stream until it breaks. Sent again, they are a stream that brings the same.
fn messages(mut stream: &[u8]) -> Vec<Asked> {
    let mut calls = Vec::new();
    let mut again = Vec::new();
    while let Ok(asked) = at_once(receive::<Asked>(&mut stream, LENGTH_MAX)) {
        at_once(send(&mut again, &asked)).expect("memory takes it");
        calls.push(asked);
    }
    let mut again = again.as_slice();
    for asked in &calls {
        let received = at_once(receive::<Asked>(&mut again, usize::MAX));
        assert_eq!(&received.unwrap(), asked);
    }
    assert!(again.is_empty());
    calls
}

/// Bytes in memory are never waited for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for bytes that are there, or cannot come"),
    }
}

/// Far below the longest input, so that the bound is met.
const LENGTH_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use agent_store::wire::Call;

    use super::*;
    use crate::corpus;

    #[test]
    fn stored_inputs_are_what_they_say() {
        let inputs = corpus::read("store").unwrap();
        let bytes = |name: &str| {
            let input = inputs.iter().find(|input| input.name() == Some(name));
            input.unwrap().bytes[1..].to_vec()
        };
        let asked = |name| read_again::<Asked>(&bytes(name)).unwrap().call;
        assert!(matches!(asked("transact"), Call::Transact(changes) if changes.len() == 2));
        for call in [
            "get",
            "list",
            "watch",
            "unwatch",
            "grant",
            "keep_alive",
            "end_lease",
        ] {
            asked(call);
        }
        for said in [
            "entries", "put", "deleted", "lagged", "denied", "lease", "revision",
        ] {
            assert!(read_again::<Said>(&bytes(said)).is_some(), "{said}");
        }
        assert_eq!(messages(&bytes("two_calls")).len(), 2);
        assert_eq!(messages(&bytes("too_long")).len(), 1);
        assert_eq!(messages(&bytes("cut")).len(), 0);
    }
}
