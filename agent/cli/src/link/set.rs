//! `tapestry link set`.

use agent_api::{
    ByteSize, Chance, Client, DelayDistribution, Impairment, Interval, LinkUpdate, LossModel,
    Percent, Rate, SlotModel,
};
use clap::ValueEnum;

use super::Place;
use crate::failure::Failure;

/// Impair a link: delay, lose, repeat, spoil, reorder or slow down its frames
///
/// What is not named goes back to nothing, unless with --modify. A value of zero is nothing. With --direction both, a ping meets
/// the delay twice.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// How long each frame is held back, as in 50ms
    #[arg(long, value_name = "TIME")]
    delay: Option<Interval>,
    /// By how much that varies, as in 5ms
    #[arg(long, value_name = "TIME")]
    jitter: Option<Interval>,
    /// How much a frame's delay is that of the frame before, as in 25%
    #[arg(long, value_name = "PERCENT")]
    jitter_correlation: Option<Percent>,
    /// By which law: uniform, normal, pareto or paretonormal
    #[arg(long, value_name = "LAW")]
    distribution: Option<DelayDistribution>,
    /// Frames that vanish: 10%, "10% 25%" with a correlation, "gemodel P [R [1-H [1-K]]]" or
    /// "state P13 [P31 [P32 [P23 [P14]]]]"
    #[arg(long, value_name = "LOSS")]
    loss: Option<LossModel>,
    /// Frames that come twice, as in 1% or "1% 25%"
    #[arg(long, value_name = "CHANCE")]
    duplicate: Option<Chance>,
    /// Frames of which one bit is turned over
    #[arg(long, value_name = "CHANCE", alias = "corruption")]
    corrupt: Option<Chance>,
    /// Frames that skip the delay, and so overtake others
    #[arg(long, value_name = "CHANCE")]
    reorder: Option<Chance>,
    /// Of so many frames, one may overtake; without --reorder, it does
    #[arg(long, value_name = "N")]
    gap: Option<u32>,
    /// What the link carries, as in 10mbit; a bare number is in kbit
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// What passes at once after a pause, as in 15kb
    #[arg(long, value_name = "SIZE")]
    burst: Option<ByteSize>,
    /// Frames that may wait; further ones are lost
    ///
    /// Where it is left out, 1000 and as many as the delay itself holds.
    #[arg(long, value_name = "FRAMES")]
    limit: Option<u32>,
    /// Frames leave together at intervals: "MIN [MAX] [packets N] [bytes SIZE]"
    #[arg(long, value_name = "SLOT")]
    slot: Option<SlotModel>,
    /// What chance begins with: with an equal one, the n-th frame has an equal fate
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Which frames: those from the container, as tc at its interface has it, those to it, or both; with --patch, those from or to
    /// the other network
    #[arg(long, value_name = "WHICH", default_value = "from")]
    direction: Direction,
    /// Keep what is not named
    #[arg(long)]
    modify: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// From the container
    From,
    /// To the container
    To,
    /// Both ways
    Both,
}

pub(super) async fn run(args: Args, client: &Client) -> Result<u8, Failure> {
    let update = args.update().map_err(Failure::usage)?;
    args.place.update(&update, client).await
}

impl Args {
    fn update(&self) -> Result<LinkUpdate, String> {
        let impairment = self.impairment();
        if impairment == Impairment::default() && self.seed.is_none() {
            return Err(
                "nothing to set; name an impairment, as in --delay 50ms, or use `tapestry link reset`"
                    .to_owned(),
            );
        }
        let given = Some(impairment).filter(|it| *it != Impairment::default());
        let is = |direction| self.direction == direction || self.direction == Direction::Both;
        Ok(LinkUpdate {
            to: given.filter(|_| is(Direction::To)),
            from: given.filter(|_| is(Direction::From)),
            modify: self.modify,
            seed: self.seed,
        })
    }

    const fn impairment(&self) -> Impairment {
        Impairment {
            delay: self.delay,
            jitter: self.jitter,
            jitter_correlation: self.jitter_correlation,
            distribution: self.distribution,
            loss: self.loss,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            reorder: self.reorder,
            gap: self.gap,
            rate: self.rate,
            burst: self.burst,
            limit: self.limit,
            slot: self.slot,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn update(line: &str) -> LinkUpdate {
        let words = std::iter::once("set").chain(line.split(' '));
        Line::try_parse_from(words).unwrap().args.update().unwrap()
    }

    #[test]
    fn the_line_becomes_an_update_of_its_directions() {
        let one = update("web eth0 --delay 50ms --jitter 5ms --loss 10% --rate 10mbit");
        assert_eq!((one.to, one.modify, one.seed), (None, false, None));
        let from = serde_json::to_string(&one.from.unwrap()).unwrap();
        assert_eq!(
            from,
            r#"{"delay":"50ms","jitter":"5ms","loss":"10%","rate":"10mbit"}"#
        );
        let both = update("web --loss 1% --direction both --modify --seed 7");
        assert_eq!(
            (both.to, both.modify, both.seed),
            (both.from, true, Some(7))
        );
    }

    #[test]
    fn containerlabs_line_is_taken() {
        let theirs = update(
            "-n clab-l-r1 -i eth1 --delay 50ms --jitter 5ms --loss 10 --rate 1000 --corruption 5",
        );
        let ours =
            update("clab-l-r1 eth1 --delay 50ms --jitter 5ms --loss 10% --rate 1mbit --corrupt 5%");
        assert_eq!(theirs, ours);
    }

    #[test]
    fn what_is_wrong_with_a_value_is_told() {
        for (line, told) in [
            ("web --delay 50", "write 50ms"),
            ("web --loss 101%", "is no loss"),
            ("web --rate fast", "is no rate"),
            ("web --distribution gauss", "write uniform"),
            ("web --burst 5ms", "is no size"),
            ("web --slot never", "is no slot"),
            ("--delay 50ms", "<CONTAINER>"),
        ] {
            let words = std::iter::once("set").chain(line.split(' '));
            let refused = match Line::try_parse_from(words) {
                Ok(_) => panic!("{line} is taken"),
                Err(refused) => refused.to_string(),
            };
            assert!(refused.contains(told), "{refused}");
        }
        let nothing = Line::try_parse_from(["set", "web"]).unwrap().args.update();
        assert!(nothing.unwrap_err().contains("link reset"));
    }
}
