//! Frames that nobody sends.

use agent_api::Client;

use super::{Args, text};
use crate::failure::Failure;
use crate::output;

pub(super) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let report = client.trace(&args.network, &args.request()?).await?;
    let shown = match args.json {
        true => output::json(&report),
        false => text::report(&report),
    };
    output::print(&shown)?;
    Ok(0)
}
