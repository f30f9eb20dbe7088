//! Kathara's `lab.conf`: lines of `device[argument]="value"` and of `LAB_NAME="value"`.

use std::collections::BTreeMap;

use crate::lab::fault::{Fault, Mark, Read, shown, unknown};
use crate::lab::wire::clab::Said;

/// The whole file.
#[derive(Debug, Default)]
pub(in crate::lab) struct LabConf {
    /// `LAB_NAME` and its like, by name.
    pub(in crate::lab) about: BTreeMap<String, String>,
    /// In the order in which the file names them.
    pub(in crate::lab) devices: Vec<Device>,
}

#[derive(Debug)]
pub(in crate::lab) struct Device {
    pub(in crate::lab) at: Mark,
    pub(in crate::lab) name: String,
    /// By number: the collision domain, and a MAC address.
    pub(in crate::lab) interfaces: BTreeMap<u32, (Said, Option<String>)>,
    /// What may stand once.
    pub(in crate::lab) texts: BTreeMap<&'static str, Said>,
    /// What may stand several times.
    pub(in crate::lab) lists: BTreeMap<&'static str, Vec<Said>>,
}

pub(in crate::lab) fn read(written: &str) -> Read<LabConf> {
    let mut lab = LabConf::default();
    for (number, line) in written.lines().enumerate() {
        Line {
            number: number + 1,
            written: line,
        }
        .read(&mut lab)?;
    }
    Ok(lab)
}

struct Line<'l> {
    number: usize,
    written: &'l str,
}

impl<'l> Line<'l> {
    fn read(&self, lab: &mut LabConf) -> Read<()> {
        let text = self.written.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let Some((left, right)) = text.split_once('=') else {
            return Err(self.fault(
                text,
                format!("{} is no line of lab.conf; {SHAPE}", shown(text)),
            ));
        };
        let value = self.value(right)?;
        let left = left.trim();
        if let Some(name) = left.strip_prefix("LAB_") {
            if !ABOUT.contains(&name) {
                return Err(self.fault(left, unknown("name", left, &ABOUT_NAMES, "of the lab")));
            }
            lab.about.insert(name.to_owned(), value.to_owned());
            return Ok(());
        }
        let argument = left.strip_suffix(']').and_then(|left| left.split_once('['));
        let Some((device, argument)) = argument else {
            return Err(self.fault(left, format!("{} is no device's; {SHAPE}", shown(left))));
        };
        let (name, argument) = (device.trim(), argument.trim().trim_matches(['"', '\'']));
        if name.is_empty()
            || !name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        {
            return Err(self.fault(
                device,
                format!(
                    "{} names no device; take letters, digits, _ and -",
                    shown(name)
                ),
            ));
        }
        let at = self.mark(text);
        let place = lab.devices.iter().position(|known| known.name == name);
        let place = place.unwrap_or_else(|| {
            lab.devices.push(Device {
                at,
                name: name.to_owned(),
                interfaces: BTreeMap::new(),
                texts: BTreeMap::new(),
                lists: BTreeMap::new(),
            });
            lab.devices.len() - 1
        });
        match lab.devices.get_mut(place) {
            Some(device) => self.argument(device, argument, value),
            None => Ok(()),
        }
    }

    fn argument(&self, device: &mut Device, argument: &'l str, value: &'l str) -> Read<()> {
        let at = self.mark(value);
        let said = || (at, value.to_owned());
        if argument.starts_with(|c: char| c.is_ascii_digit()) {
            let number = argument
                .parse::<u32>()
                .ok()
                .filter(|number| *number < NUMBERS);
            let Some(number) = number else {
                return Err(self.fault(
                    argument,
                    format!("interfaces are numbered 0 to {}", NUMBERS - 1),
                ));
            };
            return self.interface(device, number, value);
        }
        if let Some(name) = LISTS.iter().find(|name| **name == argument) {
            device.lists.entry(name).or_default().push(said());
            return Ok(());
        }
        if let Some(name) = TEXTS.iter().find(|name| **name == argument) {
            if device.texts.insert(name, said()).is_some() {
                let message = format!("{}[{argument}] stands twice; keep one of them", device.name);
                return Err(self.fault(argument, message));
            }
            return Ok(());
        }
        let known: Vec<&str> = TEXTS.iter().chain(&LISTS).copied().collect();
        let of = format!("of device {}", device.name);
        Err(self.fault(argument, unknown("argument", argument, &known, &of)))
    }

    /// `DOMAIN` or `DOMAIN/MAC`.
    fn interface(&self, device: &mut Device, number: u32, value: &'l str) -> Read<()> {
        let (domain, mac) = match value.split_once('/') {
            Some((domain, mac)) => (domain, Some(mac.to_owned())),
            None => (value, None),
        };
        if domain.is_empty()
            || !domain
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            return Err(self.fault(
                value,
                format!(
                    "{} names no collision domain; take letters, digits and _",
                    shown(domain)
                ),
            ));
        }
        let said = ((self.mark(value), domain.to_owned()), mac);
        if device.interfaces.insert(number, said).is_some() {
            let message = format!("{}[{number}] stands twice; keep one of them", device.name);
            return Err(self.fault(value, message));
        }
        Ok(())
    }

    /// With or without quotes, and without a comment after it.
    fn value(&self, right: &'l str) -> Read<&'l str> {
        let right = right.trim();
        let (value, rest) = match right.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let Some((value, rest)) = right[1..].split_once(quote) else {
                    return Err(self.fault(right, format!("the second {quote} is missing")));
                };
                (value, rest.trim())
            }
            _ => right.split_once(char::is_whitespace).unwrap_or((right, "")),
        };
        let rest = rest.trim();
        if !rest.is_empty() && !rest.starts_with('#') {
            return Err(self.fault(
                rest,
                format!("{} after the value; one value a line", shown(rest)),
            ));
        }
        match value.is_empty() {
            true => Err(self.fault(self.written, format!("a value is missing; {SHAPE}"))),
            false => Ok(value),
        }
    }

    /// Where a part of the line begins.
    fn mark(&self, part: &str) -> Mark {
        let offset = part
            .as_ptr()
            .addr()
            .saturating_sub(self.written.as_ptr().addr());
        let before = self.written.get(..offset).unwrap_or_default();
        Mark {
            line: self.number,
            column: before.chars().count() + 1,
        }
    }

    fn fault(&self, part: &str, message: impl Into<String>) -> Fault {
        Fault::new(self.mark(part), message)
    }
}

const SHAPE: &str = "write device[0]=\"A\", device[image]=\"kathara/base\" or LAB_NAME=\"name\"";
const NUMBERS: u32 = 63;
const ABOUT: [&str; 6] = ["NAME", "DESCRIPTION", "VERSION", "AUTHOR", "EMAIL", "WEB"];
const ABOUT_NAMES: [&str; 6] = [
    "LAB_NAME",
    "LAB_DESCRIPTION",
    "LAB_VERSION",
    "LAB_AUTHOR",
    "LAB_EMAIL",
    "LAB_WEB",
];
/// `num_terms`, `shell` and the rights are taken and of no consequence: there is no terminal, and nodes may what they need.
const TEXTS: [&str; 10] = [
    "image",
    "mem",
    "cpus",
    "ipv6",
    "bridged",
    "num_terms",
    "shell",
    "privileged",
    "entrypoint",
    "args",
];
const LISTS: [&str; 6] = ["exec", "sysctl", "env", "port", "ulimit", "volume"];
