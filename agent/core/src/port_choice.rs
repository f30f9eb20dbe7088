//! Host ports of which the first free one is taken.

use agent_api::{PortChoice, PortMapping, PortRun};

/// Goes through the ports of some choices, from the first one of each.
#[derive(Debug)]
pub struct Choosing<'a> {
    choices: &'a [PortChoice],
    /// The port that each is at.
    at: Vec<u16>,
}

impl<'a> Choosing<'a> {
    pub fn new(choices: &'a [PortChoice]) -> Self {
        Self {
            choices,
            at: choices.iter().map(|choice| choice.first).collect(),
        }
    }

    /// What is to be published now.
    pub fn mappings(&self) -> impl Iterator<Item = PortMapping> {
        let each = self.choices.iter().zip(&self.at);
        each.map(|(choice, host_port)| PortMapping {
            host_port: *host_port,
            ..open(choice)
        })
    }

    /// After a run of ports was refused: the choice that has one of them goes on to its next port. Whether there is one.
    pub fn go_on(&mut self, refused: &PortRun) -> bool {
        let last = refused.host_port.saturating_add(refused.ports - 1);
        let mut each = self.choices.iter().zip(&mut self.at);
        let refused_one = each.find(|(choice, at)| {
            choice.protocol == refused.protocol
                && choice.host_ip == refused.host_ip
                && (refused.host_port..=last).contains(*at)
                && **at < choice.last
        });
        refused_one.map(|(_, at)| *at += 1).is_some()
    }
}

/// The mapping of a choice before anything is chosen.
pub fn open(choice: &PortChoice) -> PortMapping {
    PortMapping {
        host_ip: choice.host_ip,
        host_port: 0,
        container_port: choice.container_port,
        protocol: choice.protocol,
    }
}

#[cfg(test)]
mod tests {
    use agent_api::{TransportProtocol, runs};

    use super::*;

    fn choice(first: u16, last: u16, container_port: u16) -> PortChoice {
        PortChoice {
            host_ip: None,
            first,
            last,
            container_port,
            protocol: TransportProtocol::Tcp,
        }
    }

    fn run(host_port: u16, protocol: TransportProtocol) -> PortRun {
        let mapping = PortMapping {
            host_port,
            protocol,
            ..open(&choice(1, 1, 80))
        };
        runs(&[mapping]).next().unwrap()
    }

    #[test]
    fn the_choice_that_was_refused_goes_on_until_its_last_port() {
        let choices = [choice(8000, 8002, 80), choice(9000, 9001, 81)];
        let mut choosing = Choosing::new(&choices);
        let ports = |choosing: &Choosing<'_>| -> Vec<u16> {
            choosing
                .mappings()
                .map(|mapping| mapping.host_port)
                .collect()
        };
        assert_eq!(ports(&choosing), [8000, 9000]);
        let tcp = TransportProtocol::Tcp;
        assert!(choosing.go_on(&run(9000, tcp)));
        assert_eq!(ports(&choosing), [8000, 9001]);
        assert!(choosing.go_on(&run(8000, tcp)) && choosing.go_on(&run(8001, tcp)));
        assert_eq!(ports(&choosing), [8002, 9001]);
        for refused in [run(8002, tcp), run(9001, tcp), run(80, tcp)] {
            assert!(!choosing.go_on(&refused), "{refused}");
        }
        let other = run(8000, TransportProtocol::Udp);
        assert!(!Choosing::new(&choices).go_on(&other));
    }
}
