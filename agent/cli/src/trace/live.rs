//! Frames as they pass.

use agent_api::{Client, TraceLine};

use super::{Args, text};
use crate::failure::Failure;
use crate::lines::Lines;
use crate::output;

pub(super) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let filter = args.filter.join(" ");
    let mut stream = client
        .trace_live(&args.network, &filter, (args.drops, args.here))
        .await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut lines = Lines::default();
    while let Some(chunk) = stream.chunk().await? {
        let whole = lines.take(&chunk);
        for line in whole.split(|&byte| byte == b'\n') {
            // A line that is none comes from another version, and is left out.
            let Ok(told) = serde_json::from_slice::<TraceLine>(line) else {
                continue;
            };
            match (&told, args.json) {
                (_, true) => output::print(&format!("{}\n", String::from_utf8_lossy(line)))?,
                (TraceLine::Sight(sight), false) => output::print(&text::sight(sight))?,
                (TraceLine::Unseen(unseen), false) => eprint!("{}", text::unseen(unseen)),
            }
            if matches!(told, TraceLine::Unseen(_)) {
                continue;
            }
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok(0);
            }
        }
    }
    Ok(0)
}
