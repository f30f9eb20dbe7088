//! The capability `bandwidth`.

use agent_api::RateDetail;
use serde_json::json;

use super::call::{Call, answer, failure, with_network};
use crate::harness::Netns;

#[test]
fn a_runtimes_bandwidth_is_the_containers_rate() {
    let host = with_network();
    let netns = Netns::new("c1");
    let limits = |limits| json!({"bandwidth": limits});
    let wrong = limits(json!({"ingressRate": "10M"}));
    let refused = Call::add(&netns, "c1").with("runtimeConfig", wrong);
    let refused = failure(&refused.make(&host, "ADD"));
    assert!(
        refused["msg"].as_str().unwrap().contains("write bits"),
        "{refused}"
    );
    let limited =
        limits(json!({"ingressRate": 8_000_000, "ingressBurst": 80_000, "egressRate": 1_000_000}));
    let call = || Call::add(&netns, "c1").with("runtimeConfig", limited.clone());
    answer(&call().make(&host, "ADD"));
    let rates: Vec<RateDetail> = host.api("GET", "/v1/rates", None).ok();
    assert_eq!(
        rates[0].settings.to_string(),
        "ingress 8mbit burst 10000b, egress 1mbit"
    );
    // 40 frames of 1042 bytes at 1 Mbit/s are a third of a second.
    let told = netns.sh("ping -n -q -c40 -i0.001 -W5 -s 1000 10.63.0.1");
    let rates: Vec<RateDetail> = host.api("GET", "/v1/rates", None).ok();
    assert!(rates[0].egress.delayed >= 30, "{told} {rates:?}");
    call().make(&host, "DEL").ok();
}
