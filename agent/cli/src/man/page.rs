//! One page: what clap knows of a command, and what the manual's readers look for besides.

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::examples::EXAMPLES;

/// The page of one command, as troff reads it.
pub(super) struct Page {
    command: clap::Command,
    /// What is typed after `tapestry`.
    words: String,
}

impl Page {
    /// Of a command below that of the page `above`; of the first one where there is none.
    pub(super) fn new(command: clap::Command, above: Option<&Self>) -> Self {
        let words = above.map_or_else(String::new, |above| {
            format!("{} {}", above.words, command.get_name())
                .trim()
                .to_owned()
        });
        Self { command, words }
    }

    /// What is typed after `tapestry`.
    pub(super) fn words(&self) -> &str {
        &self.words
    }

    /// Whether the command does something by itself, and is not only the first word of others.
    #[cfg(test)]
    pub(super) fn is_of_an_act(&self) -> bool {
        !self.command.is_subcommand_required_set()
    }

    pub(super) fn file_name(&self) -> String {
        format!("{}.1", self.name())
    }

    pub(super) fn text(&self) -> Vec<u8> {
        let man = Man::new(self.command.clone());
        let mut text = Vec::new();
        // A vector takes what it is given.
        let _ = self.render(&man, &mut text);
        text
    }

    fn render(&self, man: &Man, text: &mut Vec<u8>) -> std::io::Result<()> {
        man.render_title(text)?;
        man.render_name_section(text)?;
        man.render_synopsis_section(text)?;
        man.render_description_section(text)?;
        man.render_options_section(text)?;
        if self.command.has_subcommands() {
            man.render_subcommands_section(text)?;
        }
        let mut own = Roff::new();
        self.exit_status(&mut own);
        list(&mut own, "ENVIRONMENT", ENVIRONMENT);
        if ["", "agent"].contains(&self.words()) {
            list(&mut own, "FILES", FILES);
        }
        self.examples(&mut own);
        self.see_also(&mut own);
        own.to_writer(text)
    }

    fn exit_status(&self, roff: &mut Roff) {
        list(roff, "EXIT STATUS", EXIT_STATUS);
        if ["run", "exec"].contains(&self.words()) {
            roff.text([roman("Otherwise that of the command in the container. 125: the agent refused. 126: the command cannot be executed. 127: it is not there.")]);
        }
    }

    fn examples(&self, roff: &mut Roff) {
        let lines = EXAMPLES.iter().find(|(words, _)| *words == self.words());
        let Some((_, lines)) = lines else { return };
        roff.control("SH", ["EXAMPLES"]);
        for line in *lines {
            roff.control("PP", []).control("nf", []);
            roff.text([roman(*line)]).control("fi", []);
        }
    }

    /// The command above; where there is none, what others have for such work.
    fn see_also(&self, roff: &mut Roff) {
        let others = match self.name().rsplit_once('-') {
            Some((above, _)) => format!("{above}(1)"),
            None => "docker(1), ip-netns(8), nft(8)".to_owned(),
        };
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman(others)]);
    }

    /// The command's words, joined as a page's name is.
    fn name(&self) -> &str {
        let name = self.command.get_display_name();
        name.unwrap_or_else(|| self.command.get_name())
    }
}

/// A section of terms and what they mean.
fn list(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (term, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]).text([roman(*meaning)]);
    }
}

const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "It is done."),
    (
        "1",
        "It failed, or the agent refused it; one line on standard error says why.",
    ),
    ("2", "The command line is wrong."),
];

const ENVIRONMENT: &[(&str, &str)] = &[(
    "TAPESTRY_SOCKET",
    "The agent's socket, where --socket is not given.",
)];

const FILES: &[(&str, &str)] = &[
    (
        "/run/tapestry/agent.sock",
        "The agent's socket, of root and mode 0660.",
    ),
    (
        "/var/lib/tapestry/",
        "The agent's state: networks, containers, the cluster's keys.",
    ),
    (
        "/etc/tapestry/agent.toml",
        "The configuration, where the agent is told so by --config, as a package's unit does.",
    ),
    (
        "/etc/default/tapestry",
        "TAPESTRY_OPTIONS of the agent that systemd starts.",
    ),
];
