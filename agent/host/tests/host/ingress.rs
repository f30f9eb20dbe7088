//! What the host is meant to see of a UDP port.

use std::path::Path;

use agent_host::has_a_say;

use crate::{netns, run};

fn says() -> Option<String> {
    has_a_say(Path::new("/usr/sbin/nft"), 4789)
}

#[test]
fn policies_and_rules_of_others_have_a_say() {
    let host = netns();
    host.run(|| {
        assert_eq!(says(), None);
        run("ip xfrm policy add src 192.0.2.0/24 dst 192.0.2.1/32 dir in action allow");
        assert!(says().unwrap().contains("1 IPsec"));
        run("ip xfrm policy flush");
        run("nft table inet tapestry { chain c { udp dport 4789 accept; }; }");
        assert_eq!(says(), None);
        run("iptables -A INPUT -p udp --dport 4700:4800 -j DROP");
        assert!(says().unwrap().contains("4700"));
    })
    .unwrap();
}
