//! Knowing again what CNI attached.

use std::collections::BTreeSet;

use agent_api::{EndpointDetail, NetworkDetail};

use crate::cni::wire::Attachment;

/// What an endpoint is known by again.
pub(super) fn key(container_id: &str) -> String {
    let kept = container_id.chars().take(ID_LENGTH_MAX);
    kept.chain(KEY_END.chars()).collect()
}

/// The endpoint of a container's interface.
pub(in crate::cni) fn find<'n>(
    network: &'n NetworkDetail,
    container_id: &str,
    ifname: &str,
) -> Option<&'n EndpointDetail> {
    let key = key(container_id);
    let mut endpoints = network.endpoints.iter();
    endpoints.find(|endpoint| endpoint.link == ifname && endpoint.aliases.contains(&key))
}

/// Those that CNI made on the network and that no runtime has any more.
pub(in crate::cni) fn garbage<'n>(
    network: &'n NetworkDetail,
    valid: &[Attachment],
) -> impl Iterator<Item = &'n EndpointDetail> {
    let kept = valid.iter();
    let kept = kept.filter_map(|kept| find(network, &kept.container_id, &kept.ifname));
    let kept: BTreeSet<_> = kept.map(|endpoint| &endpoint.id).collect();
    let is_of_cni = |endpoint: &&EndpointDetail| {
        let mut aliases = endpoint.aliases.iter();
        aliases.any(|alias| alias.ends_with(KEY_END))
    };
    let of_cni = network.endpoints.iter().filter(is_of_cni);
    of_cni.filter(move |endpoint| !kept.contains(&endpoint.id))
}

/// An alias takes 63 characters.
const ID_LENGTH_MAX: usize = 59;
const KEY_END: &str = ".cni";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_docker_length_makes_an_alias_that_names_allow() {
        assert_eq!(key(&"a".repeat(64)).len(), 63);
    }
}
