//! What the packet filter shall do, and that as text that `nft` reads.

mod drops;
mod render;
mod rules;

pub use drops::{Count, Drops, FilterDrop};
pub use render::{Surroundings, TABLE, render, render_beside, render_change};
pub use rules::{DEFAULT_MARK_BIT, Families, NetworkRules, Published, Rules, Service};
