use super::*;
use crate::Carrier;

fn zone() -> Zone {
    Zone::new(ZoneConfig {
        network: "mynet".to_owned(),
        subnets: vec![
            ("10.1.0.0".parse().unwrap(), 16),
            ("fd00::".parse().unwrap(), 64),
        ],
        records: Vec::new(),
    })
}

fn names(name: &str, last: u8) -> EndpointNames {
    EndpointNames {
        name: name.to_owned(),
        aliases: vec!["db".to_owned()],
        v4: Some(Ipv4Addr::new(10, 1, 0, last)),
        ..EndpointNames::default()
    }
}

fn a(zone: &Zone, name: &str) -> Lookup {
    zone.lookup(&Name::from_ascii(name).unwrap(), RecordType::A)
}

fn addresses(lasts: &[u8]) -> Lookup {
    let address = |last: &u8| IpAddr::from([10, 1, 0, *last]);
    Lookup::Addresses(lasts.iter().map(address).collect())
}

#[test]
fn every_name_of_an_endpoint_finds_it_in_any_case() {
    let mut zone = zone();
    let web = EndpointNames {
        hostname: Some("host1.example.com".to_owned()),
        short_id: Some("0123456789ab".to_owned()),
        ..names("web", 2)
    };
    zone.insert("1", web).unwrap();
    for name in [
        "web.",
        "WEB.",
        "web.mynet.",
        "Db.MyNet.",
        "db.",
        "host1.example.com.",
        "0123456789ab.",
    ] {
        assert_eq!(a(&zone, name), addresses(&[2]), "{name}");
    }
    assert_eq!(a(&zone, "web.other."), Lookup::Foreign);
}

#[test]
fn only_names_of_endpoints_with_the_network_behind_them_are_qualified() {
    let mut zone = zone();
    let web = EndpointNames {
        hostname: Some("host1.example.com".to_owned()),
        ..names("web", 2)
    };
    zone.insert("1", web).unwrap();
    let holds = |name: &str| zone.holds_qualified(&Name::from_ascii(name).unwrap());
    for name in ["WEB.mynet.", "db.MyNet.", "_http._tcp.web.mynet."] {
        assert!(holds(name), "{name}");
    }
    for name in ["web.", "mynet.", "other.mynet.", "host1.example.com.", "."] {
        assert!(!holds(name), "{name}");
    }
}

#[test]
fn shared_alias_rotates() {
    let mut zone = zone();
    for last in 1..=3 {
        zone.insert(&last.to_string(), names(&format!("web{last}"), last))
            .unwrap();
    }
    assert_eq!(a(&zone, "db."), addresses(&[1, 2, 3]));
    let v6 = zone.lookup(&Name::from_ascii("db.").unwrap(), RecordType::AAAA);
    assert_eq!(v6, Lookup::NoData);
    assert_eq!(a(&zone, "db."), addresses(&[2, 3, 1]));
    assert_eq!(a(&zone, "db."), addresses(&[3, 1, 2]));
    zone.remove("2");
    let Lookup::Addresses(left) = a(&zone, "db.") else {
        panic!("the alias is gone");
    };
    assert_eq!(left.len(), 2);
}

#[test]
fn known_name_without_the_type_has_no_data() {
    let mut zone = zone();
    zone.insert("1", names("web", 2)).unwrap();
    for kind in [RecordType::AAAA, RecordType::MX, RecordType::TXT] {
        let name = Name::from_ascii("web.").unwrap();
        assert_eq!(zone.lookup(&name, kind), Lookup::NoData);
    }
}

#[test]
fn reverse_names_of_own_subnets_stay_here() {
    let mut zone = zone();
    let web = EndpointNames {
        v6: Some("fd00::2".parse().unwrap()),
        ..names("web", 2)
    };
    zone.insert("1", web).unwrap();
    let ptr = |name: Name| zone.lookup(&name, RecordType::PTR);
    let of = |address: &str| Name::from(address.parse::<IpAddr>().unwrap());
    let web = Lookup::Pointer(Name::from_ascii("web.mynet.").unwrap());
    assert_eq!(ptr(of("10.1.0.2")), web);
    assert_eq!(ptr(of("fd00::2")), web);
    assert_eq!(ptr(of("10.1.0.3")), Lookup::Absent);
    assert_eq!(ptr(of("fd00::3")), Lookup::Absent);
    assert_eq!(ptr(of("10.2.0.2")), Lookup::Foreign);
    assert_eq!(zone.lookup(&of("10.1.0.2"), RecordType::A), Lookup::NoData);
    let block = |name: &str| ptr(Name::from_ascii(name).unwrap());
    assert_eq!(block("0.1.10.in-addr.arpa."), Lookup::NoData);
    assert_eq!(block("10.in-addr.arpa."), Lookup::Foreign);
}

#[test]
fn what_the_host_keeps_to_itself_is_absent_until_it_is_given_up() {
    let mut zone = zone();
    let (private, subnet) = (
        Arc::new(PrivateNames::default()),
        ("10.9.0.0".parse().unwrap(), 16),
    );
    zone.set_private(Arc::clone(&private));
    private.add("other", &[subnet]);
    private.add("mynet", &[]);
    for name in ["web.OTHER.", "nobody.mynet.", "a.b.other."] {
        assert_eq!(a(&zone, name), Lookup::Absent, "{name}");
    }
    let other = Name::from(IpAddr::from([10, 9, 0, 2]));
    assert_eq!(zone.lookup(&other, RecordType::PTR), Lookup::Absent);
    private.remove("other", &[subnet]);
    assert_eq!(a(&zone, "web.other."), Lookup::Foreign);
    assert_eq!(zone.lookup(&other, RecordType::PTR), Lookup::Foreign);
}

#[test]
fn names_of_one_label_are_never_asked_of_the_world() {
    let zone = zone();
    assert_eq!(a(&zone, "nobody."), Lookup::Absent);
    let com = Name::from_ascii("com.").unwrap();
    assert_eq!(zone.lookup(&com, RecordType::DS), Lookup::Foreign);
    assert_eq!(zone.lookup(&Name::root(), RecordType::NS), Lookup::Foreign);
}

#[test]
fn localhost_is_this_very_machine() {
    let loopback = Lookup::Addresses(vec![Ipv4Addr::LOCALHOST.into()]);
    assert_eq!(a(&zone(), "localhost."), loopback);
    assert_eq!(a(&zone(), "app.LocalHost."), loopback);
}

#[test]
fn custom_records_stand_beside_endpoints() {
    let record = |name: &str, address: &str| (name.to_owned(), address.parse().unwrap());
    let mut zone = Zone::new(ZoneConfig {
        records: vec![
            record("db.example.com", "192.0.2.1"),
            record("db.example.com", "2001:db8::1"),
            record("db", "10.1.0.99"),
        ],
        ..zone().config
    });
    zone.insert("1", names("web", 2)).unwrap();
    let v6 = Lookup::Addresses(vec!["2001:db8::1".parse().unwrap()]);
    let name = Name::from_ascii("db.example.com.").unwrap();
    assert_eq!(zone.lookup(&name, RecordType::AAAA), v6);
    let Lookup::Addresses(both) = a(&zone, "db.") else {
        panic!("no addresses");
    };
    assert_eq!(both.len(), 2);
    zone.remove("1");
    assert_eq!(a(&zone, "db."), addresses(&[99]));
}

#[test]
fn published_ports_have_service_names() {
    let mut zone = zone();
    for (key, last) in [("1", 2), ("2", 3)] {
        let web = EndpointNames {
            services: vec![
                service(Carrier::Tcp, 80, 8080, 1),
                service(Carrier::Udp, 5353, 53, 1),
                service(Carrier::Tcp, 8443, 443, 1),
                service(Carrier::Tcp, 443, 8443, 1),
                service(Carrier::Udp, 20_000, 30_000, 1000),
            ],
            ..names(&format!("web{last}"), last)
        };
        zone.insert(key, web).unwrap();
    }
    let srv = |name: &str| zone.lookup(&Name::from_ascii(name).unwrap(), RecordType::SRV);
    let targets = |name: &str| match srv(name) {
        Lookup::Services(targets) => targets.len(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(targets("_http._tcp.db.mynet."), 2);
    assert_eq!(targets("_80._TCP.web2."), 1);
    assert_eq!(targets("_5353._udp.web3."), 1);
    assert_eq!(srv("_81._tcp.web2."), Lookup::Absent);
    assert_eq!(srv("_http._udp.web2."), Lookup::Absent);
    assert_eq!(srv("_http._tcp.example.com."), Lookup::Foreign);
    assert_eq!(a(&zone, "_http._tcp.web2."), Lookup::NoData);
    // The number that a port was published as names it too, behind those that containers listen on.
    let number = |name: &str| match srv(name) {
        Lookup::Services(targets) => targets[0].number,
        other => panic!("{name}: {other:?}"),
    };
    for (name, expected) in [
        ("_80._tcp.web2.", 80),
        ("_8080._tcp.web2.", 80),
        ("_http-alt._tcp.web2.", 80),
        ("_domain._udp.web2.", 5353),
        ("_443._tcp.web2.", 443),
        ("_8443._tcp.web2.", 8443),
        ("_20999._udp.web2.", 20_999),
        ("_30999._udp.web2.", 20_999),
    ] {
        assert_eq!(number(name), expected, "{name}");
    }
    for name in ["_53._tcp.web2.", "_21000._udp.web2.", "_31000._udp.web2."] {
        assert_eq!(srv(name), Lookup::Absent, "{name}");
    }
}

fn service(carrier: Carrier, number: u16, published: u16, count: u16) -> Service {
    Service {
        carrier,
        number,
        published,
        count,
    }
}

#[test]
fn replaced_endpoint_leaves_nothing_behind() {
    let mut zone = zone();
    zone.insert("1", names("web", 2)).unwrap();
    zone.insert("1", names("www", 3)).unwrap();
    assert_eq!(a(&zone, "web."), Lookup::Absent);
    assert_eq!(a(&zone, "db."), addresses(&[3]));
    assert!(zone.remove("1"));
    assert!(!zone.remove("1"));
    assert!(zone.forward.is_empty() && zone.reverse.is_empty() && zone.is_empty());
}

#[test]
fn address_taken_over_keeps_its_new_name() {
    let mut zone = zone();
    zone.insert("1", names("old", 2)).unwrap();
    zone.insert("2", names("new", 2)).unwrap();
    zone.remove("1");
    let name = Name::from(IpAddr::from([10, 1, 0, 2]));
    let new = Lookup::Pointer(Name::from_ascii("new.mynet.").unwrap());
    assert_eq!(zone.lookup(&name, RecordType::PTR), new);
}

#[test]
fn names_outside_the_grammar_are_refused_whole() {
    let mut zone = zone();
    for bad in ["", "a b", "a..b", "ü", "a\\032b", &"x".repeat(64), "a."] {
        let names = EndpointNames {
            aliases: vec![bad.to_owned()],
            ..names("web", 2)
        };
        let refused = zone.insert("1", names);
        assert_eq!(refused, Err(InvalidName(bad.to_owned()).into()));
    }
    assert_eq!(a(&zone, "web."), Lookup::Absent);
}

#[test]
fn names_of_an_endpoint_are_bounded() {
    let aliases = (0..200).map(|number| format!("alias{number}")).collect();
    let names = EndpointNames {
        aliases,
        ..names("web", 2)
    };
    let refused = zone().insert("1", names);
    assert_eq!(refused, Err(InsertNames::TooManyNames(MAX_NAMES)));
}
