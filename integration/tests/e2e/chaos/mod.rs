//! What a fault costs, seen from outside: packets, flows, links, what containers made themselves, and what is left over.
//!
//! Each test is a row of `make chaos`. With `CHAOS=full` it does what the row says as often as it says and is held to the
//! row's figure; without, it does a little of it, as a part of `make test`, and is held to what a loaded machine can do.

mod api_calls;
mod canaries;
mod churn;
mod failpoints;
mod figures;
mod flows;
mod gaps;
mod growth;
mod isolation;
mod kept;
mod kinds;
mod load;
mod many;
mod one_host;
mod outage;
mod overlay;
mod published;
mod stream;
mod tally;
mod torrent;
mod watch;

use std::sync::LazyLock;

/// Whether the whole of each row is asked for.
static FULL: LazyLock<bool> =
    LazyLock::new(|| std::env::var_os("CHAOS").is_some_and(|how| how == "full"));

/// What `make chaos` takes, or what `make test` does.
fn scaled<T>(full: T, short: T) -> T {
    if *FULL { full } else { short }
}
