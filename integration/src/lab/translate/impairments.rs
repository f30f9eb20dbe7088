//! What goes wrong at a link, as its `vars:` say it: tc's words, in the spellings of containerlab's `tools netem` and netlab's too.
//!
//! Vars are for whoever reads the file, so those that are none of these words are somebody else's and stay as they are.

use std::collections::BTreeMap;

use agent_api::{BadImpairment, BadWord, Impairment};

use crate::lab::fault::{Fault, Mark, Read, nearest};
use crate::lab::wire::clab::Said;

/// Of frames from one end: what the link says, and over it what the end itself does. With the seed of chance.
pub(super) fn of_end(
    link: &BTreeMap<String, Said>,
    end: &BTreeMap<String, Said>,
) -> Read<(Impairment, Option<u64>)> {
    let mut said = known(link)?;
    said.extend(known(end)?);
    let mut impairment = Impairment::default();
    let mut seed = None;
    for (word, (at, text)) in &said {
        let set = match *word {
            "seed" => number(text, "seed").map(|number| seed = Some(number)),
            word => set(&mut impairment, word, text),
        };
        set.map_err(|error| Fault::new(*at, format!("{word} of the link: {error}")))?;
    }
    impairment.check().map_err(|error| {
        let at = said.get(word_of(&error)).map(|(at, _)| *at);
        let any = said.values().next().map(|(at, _)| *at);
        Fault::new(at.or(any).unwrap_or_default(), error.to_string())
    })?;
    Ok((impairment, seed))
}

/// By tc's word.
fn known(vars: &BTreeMap<String, Said>) -> Read<BTreeMap<&'static str, (Mark, &str)>> {
    let mut known: BTreeMap<&str, (Mark, &str)> = BTreeMap::new();
    for (key, (at, text)) in vars {
        let Some((_, word)) = WORDS.iter().find(|(spelling, _)| spelling == key) else {
            continue;
        };
        if known.insert(word, (*at, text.as_str())).is_some() {
            return Err(Fault::new(
                *at,
                format!("{key} says again what another var of the link does; keep {word}"),
            ));
        }
    }
    Ok(known)
}

fn set(impairment: &mut Impairment, word: &str, text: &str) -> Result<(), BadWord> {
    match word {
        "delay" => impairment.delay = Some(text.parse()?),
        "jitter" => impairment.jitter = Some(text.parse()?),
        "jitter_correlation" => impairment.jitter_correlation = Some(text.parse()?),
        "distribution" => {
            let law = text.parse().map_err(|_| bad_law(text))?;
            impairment.distribution = Some(law);
        }
        "loss" => impairment.loss = Some(text.parse()?),
        "duplicate" => impairment.duplicate = Some(text.parse()?),
        "corrupt" => impairment.corrupt = Some(text.parse()?),
        "reorder" => impairment.reorder = Some(text.parse()?),
        "gap" => impairment.gap = Some(number(text, "gap")?),
        "rate" => impairment.rate = Some(text.parse()?),
        "burst" => impairment.burst = Some(text.parse()?),
        "limit" => impairment.limit = Some(number(text, "limit")?),
        _ => impairment.slot = Some(text.parse()?),
    }
    Ok(())
}

fn number<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, BadWord> {
    text.parse()
        .map_err(|_| bad(text, what, "a whole number, as in 7"))
}

fn bad_law(text: &str) -> BadWord {
    let form = nearest(text, LAWS).unwrap_or("uniform, normal, pareto or paretonormal");
    bad(text, "distribution", form)
}

fn bad(text: &str, what: &'static str, form: &'static str) -> BadWord {
    BadWord::Form {
        text: text.chars().take(SHOWN_MAX).collect(),
        what,
        form,
    }
}

/// At which a fault of several words together is shown.
const fn word_of(error: &BadImpairment) -> &'static str {
    match error {
        BadImpairment::JitterAlone => "jitter",
        BadImpairment::NoJitter(word) | BadImpairment::NoDelay(word) => word,
        BadImpairment::BurstAlone => "burst",
        BadImpairment::Limit(_) => "limit",
    }
}

/// Spellings, and tc's words for them.
const WORDS: [(&str, &str); 20] = [
    ("delay", "delay"),
    ("jitter", "jitter"),
    ("jitter_correlation", "jitter_correlation"),
    ("jitter-correlation", "jitter_correlation"),
    ("distribution", "distribution"),
    ("loss", "loss"),
    ("packet_loss", "loss"),
    ("packet-loss", "loss"),
    ("duplicate", "duplicate"),
    ("duplication", "duplicate"),
    ("corrupt", "corrupt"),
    ("corruption", "corrupt"),
    ("reorder", "reorder"),
    ("reordering", "reorder"),
    ("gap", "gap"),
    ("rate", "rate"),
    ("burst", "burst"),
    ("limit", "limit"),
    ("slot", "slot"),
    ("seed", "seed"),
];
const LAWS: [&str; 4] = ["uniform", "normal", "pareto", "paretonormal"];
const SHOWN_MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(words: &[(&str, &str)]) -> BTreeMap<String, Said> {
        let each = words.iter().enumerate().map(|(number, (key, text))| {
            let at = Mark {
                line: number + 1,
                column: 1,
            };
            ((*key).to_owned(), (at, (*text).to_owned()))
        });
        each.collect()
    }

    #[test]
    fn words_of_tc_containerlab_and_netlab_are_one() {
        let all = [
            ("delay", "50ms"),
            ("jitter", "5ms"),
            ("jitter-correlation", "25"),
            ("distribution", "normal"),
            ("packet_loss", "10"),
            ("duplication", "1%"),
            ("corruption", "0.5"),
            ("reordering", "25% 50%"),
            ("gap", "5"),
            ("rate", "1000"),
            ("burst", "15kb"),
            ("limit", "300"),
            ("slot", "20ms 30ms"),
            ("seed", "7"),
            ("owner", "somebody else"),
        ];
        let (impairment, seed) = of_end(&vars(&all), &BTreeMap::new()).unwrap();
        assert_eq!(
            impairment.to_string(),
            "delay 50ms jitter 5ms jitter_correlation 25% distribution normal loss 10% duplicate 1% corrupt 0.5% reorder 25% 50% gap 5 rate 1mbit burst 15kb limit 300 slot 20ms 30ms"
        );
        assert_eq!(seed, Some(7));
    }

    #[test]
    fn an_end_says_it_over_its_link() {
        let link = vars(&[("delay", "50ms"), ("loss", "1%")]);
        let end = vars(&[("packet-loss", "2")]);
        let (impairment, _) = of_end(&link, &end).unwrap();
        assert_eq!(impairment.to_string(), "delay 50ms loss 2%");
    }

    #[test]
    fn bad_values_are_told_where_they_stand() {
        for (words, line, told) in [
            (&[("a", "b"), ("delay", "50")][..], 2, "write 50ms"),
            (
                &[("loss", "101")],
                1,
                "loss of the link: \"101\" is no loss",
            ),
            (&[("rate", "fast")], 1, "a bare number is in kbit"),
            (&[("loss", "1"), ("packet_loss", "1")], 2, "keep loss"),
            (&[("rate", "1"), ("jitter", "5ms")], 2, "set delay too"),
            (&[("seed", "x")], 1, "\"x\" is no seed"),
            (&[("limit", "0")], 1, "write 1 to"),
            (
                &[("delay", "1ms"), ("distribution", "parreto")],
                2,
                "is no distribution; write pareto",
            ),
        ] {
            let refused = of_end(&vars(words), &BTreeMap::new()).unwrap_err();
            let is_told = refused.message.contains(told) && refused.at.line == line;
            assert!(is_told, "{words:?}: {refused:?}");
        }
    }
}
