//! A host's blocks, and who has which of its addresses.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use agent_api::EndpointSettings;
use agent_core::endpoint::{self, Attach, Attachment, Fresh, Place};
use agent_core::ipam::{AllocateAddress, Pool};
use agent_core::record::{EndpointRecord, Owner};
use agent_core::shared::asks::{Ask, AskRecord};
use agent_core::shared::blocks::{Blocks, WritePage};
use agent_core::shared::holdings::{Way, Wish, part_to_give, surplus, wanted, way};
use agent_core::shared::others::{holder_of_mac, lost_mac};
use agent_core::shared::{ALIVE, BLOCKS, Entry, Event, Moment};
use ipnet::IpNet;
use switch_core::Mac;

use super::super::store::Change;
use super::host::{Host, network_id, put};
use super::managers::{Fault, Net, change};

/// A container that is being attached.
#[derive(Debug)]
pub(crate) struct Wanting {
    pub(crate) network: String,
    id: String,
    name: String,
    /// As asked for with `--ip`.
    chosen: Option<IpAddr>,
    /// As asked for with `--mac-address`.
    mac: Option<String>,
    asked: Vec<String>,
    /// The key of a question, and until when its answer is waited for.
    open: Option<(String, Instant)>,
}

/// How writing a page ended.
#[derive(PartialEq)]
enum Written {
    Yes,
    No,
}

impl Host {
    // Blocks.

    pub(crate) fn settle_blocks(&mut self, id: &str) {
        let own = self.id.clone();
        let Some(agent) = &mut self.agent else { return };
        let Some(pools) = agent.pools.get_mut(id) else {
            return;
        };
        let withheld = agent.withheld.entry(id.to_owned()).or_default();
        let subnet = pools.v4.as_ref().unwrap().subnet();
        let blocks = Blocks::of(&agent.world, id, subnet);
        pools.own(&withheld.own(&blocks, &own));
        self.disk.owned.insert(id.to_owned(), pools.owned());
    }

    fn look(&self, id: &str) -> (Blocks, &Pool) {
        let agent = self.agent.as_ref().unwrap();
        let pool = agent.pools[id].v4.as_ref().unwrap();
        (Blocks::of(&agent.world, id, pool.subnet()), pool)
    }

    pub(crate) fn tend_blocks(&mut self, net: &mut Net, id: &str) -> Result<(), Fault> {
        let now = net.now();
        for _ in 0..TENDED_MAX {
            let agent = self.life();
            agent.pools.get_mut(id).unwrap().wake(now);
            let withheld = agent.withheld.entry(id.to_owned()).or_default().clone();
            let (blocks, pool) = self.look(id);
            if let Some(fence) = withheld.fences(&blocks).into_iter().next() {
                self.write_page(net, id, fence, Vec::new())?;
            } else if let Some(block) = wanted(&blocks, pool, &self.id) {
                let page = blocks.take(block, &self.id);
                self.write_page(net, id, page, Vec::new())?;
            } else if let Some(block) = surplus(&blocks, pool, &self.id) {
                let page = blocks.give(block, None);
                self.give(net, id, (&blocks, block, page), Vec::new())?;
            } else {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Nothing of the part is given out from before the write on, unless it is known not to have happened.
    fn give(
        &mut self,
        net: &mut Net,
        id: &str,
        (blocks, part, page): (&Blocks, IpNet, WritePage),
        more: Vec<Change>,
    ) -> Result<Written, Fault> {
        let agent = self.life();
        let withheld = agent.withheld.entry(id.to_owned()).or_default();
        let pools = agent.pools.get_mut(id).unwrap();
        withheld.hold_back(pools, blocks, part);
        let own = pools.owned();
        self.disk.owned.insert(id.to_owned(), own);
        let written = self.write_page(net, id, page, more)?;
        if written == Written::No {
            self.life().withheld.get_mut(id).unwrap().take_back(part);
            self.settle_blocks(id);
        }
        Ok(written)
    }

    fn write_page(
        &mut self,
        net: &mut Net,
        id: &str,
        page: WritePage,
        more: Vec<Change>,
    ) -> Result<Written, Fault> {
        let first = Change {
            before: Some(page.before),
            ..put(page.key.clone(), &page.record, None)
        };
        let value = first.value.clone().unwrap();
        let changes = std::iter::once(first).chain(more).collect();
        let written = match self.transact(net, changes) {
            Ok(revision) => {
                let key = page.key;
                self.learn_now(
                    net,
                    Entry {
                        key,
                        value,
                        revision,
                    },
                );
                Written::Yes
            }
            Err(Fault::Changed) => {
                match self.access.get(net, &page.key)? {
                    Some(entry) => self.learn_now(net, entry),
                    // The network has gone.
                    None => return Err(Fault::Unreachable),
                }
                Written::No
            }
            Err(fault) => return Err(fault),
        };
        self.settle_blocks(id);
        Ok(written)
    }

    pub(crate) fn learn_now(&mut self, net: &Net, entry: Entry) {
        let at = Moment::alone(net.now());
        self.life().world.apply(Event::Put(entry), &at);
    }

    // Endpoints.

    pub(crate) fn attach(
        &mut self,
        net: &mut Net,
        network: &str,
        id: String,
        (chosen, mac): (Option<IpAddr>, Option<String>),
    ) {
        self.life().wanting.push(Wanting {
            network: network.to_owned(),
            name: format!("c{}", &id[..8]),
            id,
            chosen,
            mac,
            asked: Vec::new(),
            open: None,
        });
        self.want_on(net);
    }

    pub(crate) fn detach(&mut self, net: &mut Net, id: &str) {
        let record = self.disk.endpoints[id].clone();
        self.unshare(net, &record);
        self.free(net, &record);
        self.drop_if_left(&record.network);
    }

    fn free(&mut self, net: &Net, record: &EndpointRecord) {
        self.disk.endpoints.remove(&record.id);
        let agent = self.life();
        agent.cut_off.remove(&record.id);
        let pools = agent.pools.get_mut(&record.network).unwrap();
        pools.retire(record, net.now() + REST);
    }

    pub(crate) fn is_wanted(&self, network: &str) -> bool {
        let agent = self.agent.as_ref().unwrap();
        agent
            .wanting
            .iter()
            .any(|wanting| wanting.network == network)
    }

    /// Whoever was to come to a network is refused.
    pub(crate) fn give_up(&mut self, network: &str) {
        let wanting = &mut self.life().wanting;
        wanting.retain(|wanting| wanting.network != network);
    }

    /// Goes on with what waits for addresses, and answers who asks for some.
    pub(crate) fn want_on(&mut self, net: &mut Net) {
        for wanting in std::mem::take(&mut self.life().wanting) {
            // The network may have gone.
            if self.has_network(&wanting.network) {
                let still = self.want(net, wanting);
                self.life().wanting.extend(still);
            }
        }
        while let Some(ask) = self.life().asked.pop_front() {
            if self.session().is_none() {
                return;
            }
            if self.answer(net, &ask).is_err() {
                self.life().says_again = true;
            }
        }
    }

    /// What is still wanted then.
    fn want(&mut self, net: &mut Net, mut wanting: Wanting) -> Option<Wanting> {
        if let Some((key, until)) = &wanting.open {
            match self.access.get(net, key) {
                Ok(Some(_)) if net.now() < *until => return Some(wanting),
                Ok(_) => {}
                Err(_) => {
                    self.life().says_again = true;
                    return None;
                }
            }
            if self.hear_answer(net, &wanting.network, key).is_err() {
                self.life().says_again = true;
                return None;
            }
            wanting.open = None;
        }
        for _ in 0..TENDED_MAX {
            let wish = match self.plan_endpoint(net, &wanting) {
                Ok(record) => {
                    self.seat(net, record);
                    return None;
                }
                Err(Attach::Address(AllocateAddress::Exhausted { .. })) => {
                    Wish::Any { is_ipv4: true }
                }
                Err(Attach::Address(AllocateAddress::NotOwned { address })) => {
                    Wish::Address(address)
                }
                // Somebody has it.
                Err(_) => return None,
            };
            self.session()?;
            let id = wanting.network.clone();
            let (blocks, pool) = self.look(&id);
            match way(&blocks, self.world(), pool, &self.id, wish) {
                Way::Own => return None,
                Way::Take(block) => {
                    let page = blocks.take(block, &self.id);
                    if self.write_page(net, &id, page, Vec::new()).is_err() {
                        self.life().says_again = true;
                        return None;
                    }
                }
                Way::Ask(hosts) => {
                    let mut hosts = hosts.into_iter();
                    let host = hosts.find(|host| !wanting.asked.contains(host))?;
                    wanting.asked.push(host.clone());
                    if !self.world().contains(&format!("{ALIVE}{host}")) {
                        continue;
                    }
                    let ask = Ask {
                        asker: self.id.clone(),
                        network: id,
                        wish,
                    };
                    let lease = self.session()?.lease;
                    let said = put(ask.key(), &AskRecord { host }, Some(lease));
                    if self.transact(net, vec![said]).is_err() {
                        self.life().says_again = true;
                        return None;
                    }
                    wanting.open = Some((ask.key(), net.now() + PATIENCE));
                    return Some(wanting);
                }
            }
        }
        None
    }

    /// Unless another host has its MAC. What is known of that may be a moment old.
    fn seat(&mut self, net: &mut Net, record: EndpointRecord) {
        let holder = holder_of_mac(self.world(), &self.id, &record.network, record.mac);
        if let Some((key, _)) = holder {
            let is_held = self.world().is_held(&key);
            if is_held || self.access.get(net, &key) != Ok(None) {
                let pools = self.life().pools.get_mut(&record.network).unwrap();
                return pools.release(&record);
            }
        }
        let id = record.id.clone();
        self.disk.endpoints.insert(id, record.clone());
        self.share(net, &record);
    }

    /// The answer came with what was given, or none came.
    fn hear_answer(&mut self, net: &mut Net, network: &str, key: &str) -> Result<(), Fault> {
        if self.access.get(net, key)?.is_some() {
            self.transact(net, vec![change(key.to_owned(), None)])?;
        }
        let prefix = format!("{BLOCKS}{network}/");
        let (listed, _) = self.access.list(net)?;
        for page in listed
            .into_iter()
            .filter(|page| page.key.starts_with(&prefix))
        {
            self.learn_now(net, page);
        }
        self.settle_blocks(network);
        Ok(())
    }

    fn plan_endpoint(&mut self, net: &Net, wanting: &Wanting) -> Result<EndpointRecord, Attach> {
        let network = self.disk.networks[&wanting.network].clone();
        let owner = Owner::Container(wanting.name.clone());
        let settings = EndpointSettings {
            ip: match wanting.chosen {
                Some(IpAddr::V4(address)) => Some(address),
                _ => None,
            },
            mac: wanting.mac.clone(),
            ..EndpointSettings::default()
        };
        let attachment = Attachment {
            owner: owner.clone(),
            path: None,
            name: &wanting.name,
            hostname: None,
            dns: &[],
            publish: &[],
            ports_reserved: false,
            link: None,
            settings: &settings,
        };
        let fresh = Fresh {
            id: wanting.id.clone(),
            mac: Mac::new([2, 0, 0, 0, 0, 1]),
        };
        let others = self.endpoints_of(&network.id);
        let pools = self.life().pools.get_mut(&network.id).unwrap();
        pools.wake(net.now());
        let place = Place::of(&[], &owner);
        endpoint::plan(&network, pools, others.iter(), &attachment, place, fresh)
    }

    fn answer(&mut self, net: &mut Net, entry: &Entry) -> Result<(), Fault> {
        let Some(ask) = Ask::of_entry(entry, &self.id) else {
            return Ok(());
        };
        let done = Change {
            before: Some(agent_core::shared::before::Before::of(entry)),
            ..change(entry.key.clone(), None)
        };
        for _ in 0..TENDED_MAX {
            let part = self.has_network(&ask.network).then(|| {
                let (blocks, pool) = self.look(&ask.network);
                let part = part_to_give(&blocks, pool, &self.id, ask.wish)?;
                Some((blocks.give(part, Some(&ask.asker)), blocks, part))
            });
            let Some((page, blocks, part)) = part.flatten() else {
                return match self.transact(net, vec![done]) {
                    // It was given up meanwhile.
                    Err(Fault::Changed) => Ok(()),
                    done => done.map(drop),
                };
            };
            let more = vec![done.clone()];
            let written = self.give(net, &ask.network, (&blocks, part, page), more)?;
            if written == Written::Yes || self.access.get(net, &entry.key)?.is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes the addresses of a network's endpoints this host's. Those with a part in the network.
    pub(crate) fn hold_addresses(
        &mut self,
        net: &mut Net,
        id: &str,
    ) -> Result<Vec<EndpointRecord>, Fault> {
        let mut whole = Vec::new();
        for record in self.endpoints_of(id) {
            let is_whole = self.hold(net, &record)? && !self.has_lost_mac(&record);
            match is_whole {
                true => {
                    self.life().cut_off.remove(&record.id);
                    whole.push(record);
                }
                false => {
                    // The owner's claim is to count here, too.
                    let (network, mac) = (network_id(&record.network), Mac::new(record.mac));
                    let agent = self.life();
                    agent.directory.withdraw(net.time(), network, mac);
                    agent.cut_off.insert(record.id);
                }
            }
        }
        Ok(whole)
    }

    pub(crate) fn has_lost_mac(&self, record: &EndpointRecord) -> bool {
        let place = (&*record.network, &*record.id);
        lost_mac(self.world(), &self.id, place, record.mac).is_some()
    }

    fn hold(&mut self, net: &mut Net, record: &EndpointRecord) -> Result<bool, Fault> {
        for _ in 0..TENDED_MAX {
            let (blocks, pool) = self.look(&record.network);
            let wish = Wish::Address(record.addresses()[0]);
            match way(&blocks, self.world(), pool, &self.id, wish) {
                Way::Own => return Ok(true),
                Way::Take(block) => {
                    let page = blocks.take(block, &self.id);
                    self.write_page(net, &record.network, page, Vec::new())?;
                }
                Way::Ask(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Endpoints that have lost their address are attached anew.
    pub(crate) fn mend_cut_off(&mut self, net: &mut Net) {
        for id in std::mem::take(&mut self.life().cut_off) {
            let Some(record) = self.disk.endpoints.get(&id).cloned() else {
                continue;
            };
            if self.life().pools[&record.network]
                .owned()
                .iter()
                .any(|own| own.contains(&record.addresses()[0]))
            {
                // It waits for its MAC.
                self.life().cut_off.insert(id);
                continue;
            }
            self.unshare(net, &record);
            self.free(net, &record);
            self.life().wanting.push(Wanting {
                network: record.network,
                id,
                name: record.name,
                chosen: None,
                mac: None,
                asked: Vec::new(),
                open: None,
            });
        }
    }
}

/// How long an address rests.
const REST: Duration = Duration::from_secs(60);
/// How long a host may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
const TENDED_MAX: usize = 64;
