//! The files as they are written: text with positions, nothing of their meaning.

pub(in crate::lab) mod clab;
pub(in crate::lab) mod kathara;
mod text;
pub(in crate::lab) mod words;
mod yaml;
