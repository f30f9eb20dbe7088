//! What is on the screen.
//!
//! # Theory of operation
//!
//! A function of two looks at the agent and of the keys that were pressed. Rates are of the time between the looks. The table is made anew
//! for each frame: filtered, sorted, and cut to the screen around the row that is chosen. The choice is a number, so that it stays where it is
//! while rows change places.

use super::grid::Grid;
use super::sample::Sample;
use super::views::{Looks, View};
use crate::amount::{bits, per_second};
use crate::screen::{Ink, cut};

/// What is known, and what somebody wants to see of it.
#[derive(Debug)]
pub(super) struct State {
    now: Sample,
    before: Option<Sample>,
    view: View,
    /// The network that somebody went into.
    inside: Option<String>,
    /// The column that is sorted by, where somebody chose one.
    sorted: Option<usize>,
    reversed: bool,
    filter: String,
    /// The filter is being written.
    is_typing: bool,
    chosen: usize,
    trouble: Option<String>,
}

/// What is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Tab,
    Up,
    Down,
    PageUp,
    PageDown,
    /// The screen has another size.
    Resized,
    Quit,
}

impl State {
    pub(super) const fn new(now: Sample) -> Self {
        Self {
            now,
            before: None,
            view: View::Networks,
            inside: None,
            sorted: None,
            reversed: false,
            filter: String::new(),
            is_typing: false,
            chosen: 0,
            trouble: None,
        }
    }

    /// Another look.
    pub(super) fn update(&mut self, sample: Sample) {
        self.before = Some(std::mem::replace(&mut self.now, sample));
        self.trouble = None;
    }

    /// The agent was asked in vain: what was known stays.
    pub(super) fn complain(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// Shows the ports of a network.
    pub(super) fn enter(&mut self, network: &str) {
        self.inside = Some(network.to_owned());
        self.show(View::Ports);
    }

    /// Does what a key is for; `None` at the end.
    pub(super) fn press(&mut self, key: Key) -> Option<()> {
        match key {
            Key::Quit => return None,
            Key::Char(c) if self.is_typing => self.filter.push(c),
            Key::Backspace if self.is_typing => drop(self.filter.pop()),
            Key::Enter if self.is_typing => self.is_typing = false,
            Key::Escape if self.is_typing => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Char('q') => return None,
            Key::Char('/') => self.is_typing = true,
            Key::Char('s') => {
                let grid = self.grid();
                let next = self.sorted_by(&grid) + 1;
                self.sorted = Some(next % grid.headers.len().max(1));
            }
            Key::Char('r') => self.reversed = !self.reversed,
            Key::Char(c) => {
                let number = c.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
                let view = number.and_then(|number| View::ALL.get(number.checked_sub(1)?));
                if let Some(view) = view {
                    self.show(*view);
                }
            }
            Key::Tab => {
                let at = View::ALL.iter().position(|view| *view == self.view);
                let next = (at.unwrap_or(0) + 1) % View::ALL.len();
                self.show(View::ALL[next]);
            }
            Key::Enter => self.open(),
            Key::Escape | Key::Backspace if self.inside.is_some() => {
                self.inside = None;
                self.show(View::Networks);
            }
            Key::Escape => self.filter.clear(),
            Key::Up => self.chosen = self.chosen.saturating_sub(1),
            Key::Down => self.chosen += 1,
            Key::PageUp => self.chosen = self.chosen.saturating_sub(PAGE),
            Key::PageDown => self.chosen += PAGE,
            Key::Backspace | Key::Resized => {}
        }
        let last = self.grid().rows.len().saturating_sub(1);
        self.chosen = self.chosen.min(last);
        Some(())
    }

    /// All of it, without what is for keys.
    pub(super) fn page(&self, width: usize, colours: bool) -> Vec<String> {
        let grid = self.grid();
        let table = grid.lines(width, self.sorted_by(&grid));
        let mut lines = self.head(width, colours);
        lines.extend(painted_head(&table, colours));
        lines.extend(table.into_iter().skip(1));
        lines
    }

    /// As much of it as there is room for, with the chosen row.
    pub(super) fn screen(&self, width: usize, height: usize, colours: bool) -> Vec<String> {
        let grid = self.grid();
        let table = grid.lines(width, self.sorted_by(&grid));
        let mut lines = self.head(width, colours);
        lines.extend(painted_head(&table, colours));
        let room = height.saturating_sub(lines.len() + 1);
        let skipped = (self.chosen + 1).saturating_sub(room);
        let rows = table.iter().skip(1).enumerate().skip(skipped).take(room);
        lines.extend(rows.map(|(at, row)| match at == self.chosen {
            true => self.marked(row, width, colours),
            false => row.clone(),
        }));
        lines.resize(height.saturating_sub(1), String::new());
        lines.push(self.foot(width, colours));
        lines.truncate(height);
        lines
    }

    fn grid(&self) -> Grid {
        let mut grid = self.view.grid(self.looks());
        if !self.filter.is_empty() {
            grid.filter(&self.filter);
        }
        let column = self.sorted_by(&grid);
        grid.sort(column, self.reversed);
        grid
    }

    fn looks(&self) -> Looks<'_> {
        Looks {
            now: &self.now,
            before: self.before.as_ref(),
            network: self.inside.as_deref(),
        }
    }

    fn sorted_by(&self, grid: &Grid) -> usize {
        let chosen = self.sorted.filter(|column| *column < grid.headers.len());
        chosen.unwrap_or(grid.sorted_by)
    }

    fn show(&mut self, view: View) {
        (self.view, self.sorted, self.reversed, self.chosen) = (view, None, false, 0);
    }

    fn open(&mut self) {
        let grid = self.grid();
        let row = grid.rows.get(self.chosen);
        if let Some(network) = row.and_then(|row| row.leads_to.clone()) {
            self.enter(&network);
        }
    }

    /// Who is looked at, how much there is of it, and what can be chosen.
    fn head(&self, width: usize, colours: bool) -> Vec<String> {
        let (agent, total) = (&self.now.agent, self.looks().total());
        let ports: usize = self.now.networks.values().map(|it| it.ports.len()).sum();
        let died = match agent.deaths {
            0 => String::new(),
            deaths => format!(", died {deaths} times"),
        };
        let first = format!(
            "tapestry {}: {} workers on {}{died}; {} networks, {ports} ports",
            agent.version,
            agent.workers,
            agent.engine,
            self.now.networks.len(),
        );
        let second = format!(
            "in {}, out {}, frames {}, drops {}",
            bits(total.rx_bytes),
            bits(total.tx_bytes),
            per_second(total.frames),
            per_second(total.drops),
        );
        let mut lines = vec![
            Ink::Head.paint(&cut(&first, width), colours),
            cut(&second, width),
            self.tabs(width),
        ];
        if let Some(why) = &self.trouble {
            lines.push(Ink::Bad.paint(&cut(why, width), colours));
        } else if let Some(warning) = agent.warnings.last() {
            let told = match agent.warnings.len() {
                1 => format!("warning: {warning}"),
                many => format!("{many} warnings, the last: {warning}"),
            };
            lines.push(Ink::Warning.paint(&cut(&told, width), colours));
        }
        lines
    }

    fn tabs(&self, width: usize) -> String {
        let tabs = View::ALL.iter().map(|view| match *view == self.view {
            true => format!("[{}]", view.name()),
            false => view.name().to_owned(),
        });
        let mut line = tabs.collect::<Vec<_>>().join(" ");
        if let Some(network) = &self.inside {
            line += &format!("  of {network}");
        }
        if !self.filter.is_empty() || self.is_typing {
            let end = if self.is_typing { "_" } else { "" };
            line += &format!("  filter: {}{end}", self.filter);
        }
        cut(&line, width)
    }

    /// Without colours, what is chosen is marked by a sign.
    fn marked(&self, row: &str, width: usize, colours: bool) -> String {
        if colours {
            return Ink::Chosen.paint(&format!("{row:<width$}"), true);
        }
        cut(&format!(">{row}"), width)
    }

    fn foot(&self, width: usize, colours: bool) -> String {
        let keys = match self.is_typing {
            true => "Enter keeps the filter, Esc drops it",
            false => "Tab 1-6 show  Enter into  Esc out  s sort  r reverse  / filter  q quit",
        };
        Ink::Faint.paint(&cut(keys, width), colours)
    }
}

fn painted_head(table: &[String], colours: bool) -> Option<String> {
    table.first().map(|head| Ink::Head.paint(head, colours))
}

const PAGE: usize = 10;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use agent_api::{Info, PortView};
    use serde_json::json;

    use super::*;
    use crate::top::sample::NetworkSample;

    fn agent(seconds: u64) -> Info {
        serde_json::from_value(json!({
            "version": "0.1.0", "pid": 7, "state_dir": "/s", "engine": "io_uring", "engine_reason": "",
            "workers": 2, "deaths": 0, "warnings": [],
            "work": [
                { "busy_us": 250_000 * seconds, "frames": 126_000 * seconds, "batches": 10_000 * seconds, "ports": 3 },
                { "busy_us": 0, "frames": 0, "batches": 0, "ports": 0 },
            ],
        }))
        .unwrap()
    }

    fn port(number: u32, owner: &str, bytes: u64, dropped: u64) -> PortView {
        serde_json::from_value(json!({
            "port": number, "kind": "tap", "owner": owner, "state": "up", "link": null, "tap_driver": null,
            "rx_frames": bytes / 1000, "rx_bytes": bytes, "tx_frames": 0, "tx_bytes": bytes / 10,
            "drops": if dropped > 0 { json!({"queue_full": dropped}) } else { json!({}) },
        }))
        .unwrap()
    }

    /// After so many seconds of steady work.
    fn sample(start: Instant, seconds: u64) -> Sample {
        let lab = NetworkSample {
            ports: vec![
                port(2, "web", 125_000_000 * seconds, 0),
                port(3, "db", 1000 * seconds, 40 * seconds),
            ],
            names: serde_json::from_value(json!({
                "servers": [], "queries": 12 * seconds, "local": 10 * seconds, "cached": 0, "forwarded": 2 * seconds, "forwarding_us": 6_500 * seconds,
                "refused": 0, "ignored": 0, "failed": 0, "crowded_out": 0, "blocked": 0,
                "connections_reset": 0, "errors": [],
            }))
            .unwrap(),
            tunnels: vec![
                serde_json::from_value(json!({
                    "port": 5, "host": "h2", "address": "192.0.2.2", "up": true, "rtt_us": 1250,
                    "rx_frames": 0, "rx_bytes": 250_000 * seconds, "tx_frames": 0, "tx_bytes": 0, "drops": {},
                }))
                .unwrap(),
            ],
        };
        let quiet = NetworkSample {
            ports: vec![port(9, "gateway", 0, 0)],
            ..NetworkSample::default()
        };
        Sample {
            at: start + Duration::from_secs(seconds),
            agent: agent(seconds),
            networks: [("bridge".to_owned(), quiet), ("lab".to_owned(), lab)].into(),
        }
    }

    fn state() -> State {
        let start = Instant::now();
        let mut state = State::new(sample(start, 10));
        state.update(sample(start, 12));
        state
    }

    fn pressed(keys: &[Key]) -> State {
        let mut state = state();
        for key in keys {
            assert!(state.press(*key).is_some(), "{key:?}");
        }
        state
    }

    fn text(state: &State) -> String {
        state.page(80, false).join("\n")
    }

    #[test]
    fn networks_come_with_their_rates() {
        insta::assert_snapshot!(text(&state()));
    }

    #[test]
    fn each_view_fits_eighty_columns() {
        let mut state = state();
        let mut shown = String::new();
        for number in '1'..='6' {
            state.press(Key::Char(number));
            let lines = state.page(80, false);
            assert!(
                lines.iter().all(|line| line.chars().count() <= 80),
                "{lines:#?}"
            );
            shown += &(lines[2..].join("\n") + "\n\n");
        }
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn enter_goes_into_a_network_and_escape_out_of_it() {
        let inside = pressed(&[Key::Enter]);
        assert!(text(&inside).contains("[ports]") && text(&inside).contains("of lab"));
        assert!(!text(&inside).contains("gateway"));
        let outside = pressed(&[Key::Enter, Key::Escape]);
        assert_eq!(text(&outside), text(&state()));
        let other = pressed(&[Key::Down, Key::Down, Key::Enter]);
        assert!(text(&other).contains("of bridge") && text(&other).contains("gateway"));
    }

    #[test]
    fn a_filter_is_written_kept_and_dropped() {
        let typed = [
            Key::Char('2'),
            Key::Char('/'),
            Key::Char('d'),
            Key::Char('q'),
            Key::Backspace,
        ];
        let mut state = pressed(&typed);
        assert!(text(&state).contains("filter: d_"));
        state.press(Key::Char('b'));
        state.press(Key::Enter);
        assert!(text(&state).contains("filter: db\n") && !text(&state).contains("web"));
        state.press(Key::Escape);
        assert!(text(&state).contains("web"));
    }

    #[test]
    fn keys_sort_and_end() {
        let by_frames = pressed(&[Key::Char('2'), Key::Char('s'), Key::Char('s')]);
        assert!(text(&by_frames).contains("FRAMES*"), "{}", text(&by_frames));
        let order = |state: &State| text(state).find("web") < text(state).find("db");
        assert!(order(&by_frames));
        assert!(!order(&pressed(&[Key::Char('2'), Key::Char('r')])));
        assert!(state().press(Key::Char('q')).is_none());
        assert!(pressed(&[Key::Char('/')]).press(Key::Quit).is_none());
    }

    #[test]
    fn the_chosen_row_is_on_the_screen_and_nothing_is_wider_or_longer() {
        let mut state = pressed(&[Key::Char('2'), Key::PageDown]);
        let screen = state.screen(40, 7, false);
        assert_eq!(screen.len(), 7);
        assert!(
            screen.iter().all(|line| line.chars().count() <= 40),
            "{screen:#?}"
        );
        assert!(screen[5].starts_with(">bridge"), "{screen:#?}");
        state.complain("no agent at /x".to_owned());
        assert!(text(&state).contains("no agent at /x"));
        for (width, height) in [(0, 0), (1, 1), (200, 3)] {
            assert_eq!(state.screen(width, height, true).len(), height);
        }
    }

    #[test]
    fn a_port_that_was_made_anew_has_no_rate_below_zero() {
        let start = Instant::now();
        let mut state = State::new(sample(start, 12));
        state.update(sample(start + Duration::from_secs(20), 1));
        assert!(text(&state).contains("0 bit/s") && !text(&state).contains('-'));
    }
}
