//! A list about one network: which network, and table or JSON.

use serde::Serialize;

use crate::failure::Failure;
use crate::output;

// Not a doc comment: clap would show it as the text of each command.
#[derive(Debug, clap::Args)]
pub(crate) struct Listing {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The network's name or id
    pub(crate) network: String,
}

impl Listing {
    /// Prints `items` as the caller asked for them.
    pub(crate) fn print<T: Serialize>(
        &self,
        items: &[T],
        table: impl FnOnce(&[T]) -> String,
    ) -> Result<u8, Failure> {
        let text = if self.json {
            output::json(items)
        } else {
            table(items)
        };
        output::print(&text)?;
        Ok(0)
    }
}
