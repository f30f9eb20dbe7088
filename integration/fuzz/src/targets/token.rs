//! What people paste: join tokens, and the small words of the command line and the API.

use agent_api::{DnsServer, RestartPolicy};
use agent_cluster::JoinToken;
use agent_core::hosts::ExtraHost;
use agent_core::ipam::parse_subnet;
use agent_core::name::{check_id, check_name};
use agent_core::resolv_conf::ResolvConf;
use switch_core::Mac;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "token",
    run,
    length_max: 512,
    words: &[
        b"TPSTRY-1-",
        b"tls://",
        b"https://",
        b"quic://",
        b":853",
        b"#",
        b"/dns-query",
        b"[fd00::1]",
        b"%eth0",
        b"nameserver ",
        b"search ",
        b"options ndots:",
        b"host-gateway",
        b"on-failure:",
        b"10.0.0.0/8",
    ],
};

fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(token) = text.parse::<JoinToken>() {
        assert_eq!(token.to_string(), text.trim(), "one token has one spelling");
    }
    if let Ok(server) = text.parse::<DnsServer>() {
        assert_eq!(server.to_string().parse(), Ok(server));
    }
    if let Ok(policy) = text.parse::<RestartPolicy>() {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    if let Ok(mac) = text.parse::<Mac>() {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
    if let Ok(subnet) = parse_subnet(text) {
        assert_eq!(subnet.trunc(), subnet, "no bit beside the prefix");
    }
    if let Ok(host) = ExtraHost::parse(text) {
        assert!(host.lines(&[[10, 0, 0, 1].into()]).len() <= 1);
    }
    if check_name(text).is_ok() {
        // It goes into hosts files, rules and paths as it is.
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        );
        assert!((1..=128).contains(&text.len()) && text != "." && text != "..");
    }
    if check_id(text).is_ok() {
        assert!(text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    let conf = ResolvConf::parse(text);
    let written = conf.to_text();
    assert_eq!(ResolvConf::parse(&written).to_text(), written);
}
