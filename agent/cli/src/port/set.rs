//! `tapestry port set`.

use agent_api::{Client, PortSettings};

use crate::failure::Failure;
use crate::link::find;

/// Change how the switch treats a container's port
///
/// The words are the kernel bridge's: isolated (exchanges nothing with other isolated ports), locked (only stations that are configured
/// there may send), learning, flood, mcast_flood and bcast_flood (which floods it gets), mcast_router (it gets every group of a network that
/// snoops), each with =on or =off, and learn_limit=N. up opens a port that is down or blocked, down plugs it out. What is set holds from the next frame on, over restarts of the container and of
/// the agent.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container's name or id, or that of whatever else is attached
    container: String,
    /// The network, or the interface in the container, where there are several; and what is to be different, as in locked=on
    #[arg(required = true, value_name = "[NETWORK] SETTING")]
    words: Vec<String>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
struct Wish {
    place: Option<String>,
    settings: PortSettings,
    up: Option<bool>,
}

pub(super) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let wish = Wish::read(&args.words)?;
    let link = find(&args.container, wish.place.as_deref(), client).await?;
    if !wish.settings.is_default() {
        client.update_port(&link.endpoint, &wish.settings).await?;
    }
    if let Some(up) = wish.up {
        client.set_endpoint_up(&link.endpoint, up).await?;
    }
    Ok(0)
}

impl Wish {
    fn read(words: &[String]) -> Result<Self, Failure> {
        let mut wish = Self::default();
        let mut settings = Vec::new();
        for (at, word) in words.iter().enumerate() {
            match (word.as_str(), word.parse::<PortSettings>()) {
                ("up", _) => wish.up = Some(true),
                ("down", _) => wish.up = Some(false),
                (_, Ok(setting)) => settings.push(setting),
                (_, Err(_)) if at == 0 && !word.contains('=') => wish.place = Some(word.clone()),
                (_, Err(bad)) => return Err(Failure::usage(bad.to_string())),
            }
        }
        wish.settings = PortSettings::of(&settings);
        match wish.up.is_none() && wish.settings.is_default() {
            true => Err(Failure::usage(
                "nothing is to be different; write a setting, as in locked=on, or up or down",
            )),
            false => Ok(wish),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Wish, Failure> {
        let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        Wish::read(&words)
    }

    #[test]
    fn a_network_may_come_before_the_settings() {
        let wish = read("lab locked=on learning=off up").unwrap();
        assert_eq!(wish.place.as_deref(), Some("lab"));
        assert_eq!(wish.settings.to_string(), "locked=on learning=off");
        assert_eq!(wish.up, Some(true));
        assert_eq!(read("isolated").unwrap().place, None);
        assert_eq!(read("down").unwrap().up, Some(false));
        for (line, told) in [
            ("lab", "nothing is to be different"),
            ("lab locked=maybe", "locked=maybe"),
            ("locked=on lab", "\"lab\""),
        ] {
            let refused = read(line).unwrap_err().to_string();
            assert!(refused.contains(told), "{refused}");
        }
    }
}
