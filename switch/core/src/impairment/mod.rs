//! Impairments: what a link does to frames that a good one would not, with the words and the meaning of Linux's netem.
//!
//! # Theory of operation
//!
//! A [`Line`] is one direction of a link. It is handed envelopes with the time of their arrival, and hands out what has become
//! of them, when it is time. It owns the frames that wait, and nothing else: callers have the clock and the timer.
//!
//! **Frames are those of the wire.** A superframe is cut into the frames that a network card would have sent, before anything is
//! decided about them. Only where nothing is decided about single frames it stays whole: under a delay without jitter, a limit, and a
//! rate that puts it on the wire within [`line::WHOLE_MAX`]. A rate counts the bytes of all frames of a superframe, from the Ethernet
//! header on, as tc does; a limit counts its frames.
//!
//! **The fate of the n-th frame depends on the seed alone.** Each frame has random numbers of its own, made of the seed, its
//! number and what they are for ([`chance`]). So another fault, or another setting, leaves those of the others as they were.
//!
//! **Order of events**: loss, duplication, corruption, then the delay with its jitter or the overtaking of it, then the rate, then
//! the slot. Where no rate is set, jitter may put a frame before another, as it does in netem; a rate keeps the order.
//!
//! **Correlation** is that of a frame with the one before: with so much chance its random number is that one's, and otherwise a new
//! one. netem mixes the two numbers instead, and so loses far less than it was told; here the share stays what was asked for.
//!
//! **Bounds.** Frames beyond the limit are lost and counted, and so are those beyond [`queue::BYTES_MAX`].

mod chance;
mod distribution;
mod line;
mod loss;
mod queue;
mod settings;
mod slot;
#[cfg(test)]
mod tests;

pub use chance::Chance;
pub use distribution::Distribution;
pub use line::{Line, LineCounts, Taken};
pub use loss::Loss;
pub use settings::Impairment;
pub use slot::Slot;
