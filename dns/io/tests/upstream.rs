//! The upstream against real and scripted servers on the loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on has failed"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dns_io::{Carrier, ServerAddress, Upstream};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn plain(servers: &[SocketAddr]) -> Upstream {
    let servers: Vec<_> = servers.iter().copied().map(ServerAddress::from).collect();
    Upstream::new(&servers)
}

async fn ask(upstream: &Upstream, query: &Message) -> Message {
    ask_over(upstream, query, Carrier::Udp).await
}

async fn ask_over(upstream: &Upstream, query: &Message, carrier: Carrier) -> Message {
    let bytes = upstream.exchange(&query.to_vec().unwrap(), carrier).await;
    let reply = Message::from_vec(&bytes).unwrap();
    assert_eq!(reply.metadata.id, query.metadata.id);
    assert_eq!(reply.metadata.message_type, MessageType::Response);
    assert_eq!(reply.queries, query.queries);
    reply
}

fn data(reply: &Message) -> Vec<String> {
    let text = |record: &Record| format!("{} {}", record.name, record.data);
    reply.answers.iter().map(text).collect()
}

/// A dnsmasq child; ends with the test.
struct Dnsmasq {
    child: Child,
    address: SocketAddr,
}

impl Dnsmasq {
    fn start(arguments: &[&str]) -> Self {
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = probe.local_addr().unwrap();
        drop(probe);
        let child = Command::new("dnsmasq")
            .args(["--no-daemon", "--no-resolv", "--no-hosts"])
            .args(["--conf-file=/dev/null", "--bind-interfaces"])
            .args(["--listen-address=127.0.0.1", "--log-facility=/dev/null"])
            .arg(format!("--port={}", address.port()))
            .args(arguments)
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need dnsmasq: install the package dnsmasq-base");
        Self { child, address }
    }

    async fn ready(&self) {
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(self.address).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("dnsmasq does not listen on {}", self.address);
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that answers over UDP and TCP as `script` says, and counts what it was asked.
struct Scripted {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

type Script = fn(Message, Carrier) -> Option<Message>;

async fn serve_udp(udp: UdpSocket, script: Script, asked: Arc<AtomicUsize>) {
    let mut buffer = [0; 4096];
    loop {
        let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
        asked.fetch_add(1, Ordering::Relaxed);
        let query = Message::from_vec(&buffer[..length]).unwrap();
        if let Some(reply) = script(query, Carrier::Udp) {
            udp.send_to(&reply.to_vec().unwrap(), client).await.unwrap();
        }
    }
}

impl Scripted {
    async fn start(script: Script) -> Self {
        let (udp, tcp) = Self::sockets().await;
        let address = udp.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve_udp(udp, script, Arc::clone(&asked)));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                while let Ok(length) = stream.read_u16().await {
                    let mut bytes = vec![0; usize::from(length)];
                    stream.read_exact(&mut bytes).await.unwrap();
                    let query = Message::from_vec(&bytes).unwrap();
                    if let Some(reply) = script(query, Carrier::Tcp) {
                        let bytes = reply.to_vec().unwrap();
                        let length = u16::try_from(bytes.len()).unwrap();
                        stream.write_u16(length).await.unwrap();
                        stream.write_all(&bytes).await.unwrap();
                    }
                }
            }
        });
        Self { address, asked }
    }

    /// A UDP and a TCP socket on one free port.
    async fn sockets() -> (UdpSocket, TcpListener) {
        loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                return (udp, tcp);
            }
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn reply_with(query: Message, records: impl IntoIterator<Item = Record>) -> Message {
    let mut reply = query.into_response();
    reply.metadata.recursion_available = true;
    reply.add_answers(records);
    reply
}

fn address(name: &Name, last: u8) -> Record {
    let data = RData::A(rdata::A(Ipv4Addr::new(192, 0, 2, last)));
    Record::from_rdata(name.clone(), 300, data)
}

fn one_address(query: Message, _: Carrier) -> Option<Message> {
    let name = query.queries[0].name.clone();
    Some(reply_with(query, [address(&name, 1)]))
}

fn silence(_: Message, _: Carrier) -> Option<Message> {
    None
}

fn refusal(query: Message, _: Carrier) -> Option<Message> {
    let mut reply = query.into_response();
    reply.metadata.response_code = ResponseCode::Refused;
    Some(reply)
}

/// 200 addresses over TCP; over UDP only the news that they do not fit.
fn long_over_tcp(query: Message, carrier: Carrier) -> Option<Message> {
    let name = query.queries[0].name.clone();
    if carrier == Carrier::Udp {
        let mut reply = query.into_response();
        reply.metadata.truncation = true;
        return Some(reply);
    }
    Some(reply_with(query, (0..200).map(|last| address(&name, last))))
}

fn no_such_name(query: Message, _: Carrier) -> Option<Message> {
    let zone = Name::from_ascii("test.").unwrap();
    let soa = rdata::SOA::new(zone.clone(), zone.clone(), 1, 2, 3, 4, 60);
    let mut reply = reply_with(query, []);
    reply.metadata.response_code = ResponseCode::NXDomain;
    reply.add_authority(Record::from_rdata(zone, 60, RData::SOA(soa)));
    Some(reply)
}

/// Says in its answer what the query carried.
fn echo_edns(query: Message, _: Carrier) -> Option<Message> {
    let name = query.queries[0].name.clone();
    let wanted = query
        .edns
        .as_ref()
        .is_some_and(|edns| edns.flags().dnssec_ok);
    let unknown = rdata::NULL::with(vec![u8::from(wanted), 7]);
    let code = u16::from(query.queries[0].query_type);
    let data = RData::Unknown {
        code: code.into(),
        rdata: unknown,
    };
    Some(reply_with(query, [Record::from_rdata(name, 300, data)]))
}

/// Tells what it was asked for, letter by letter, under an alias of the same ending.
fn say_the_name(query: Message, _: Carrier) -> Option<Message> {
    let name = query.queries[0].name.clone();
    let alias = Name::from_ascii("alias").unwrap();
    let alias = alias.append_domain(&name.base_name()).unwrap();
    let text = RData::TXT(rdata::TXT::new(vec![name.to_ascii()]));
    let records = [
        Record::from_rdata(name, 300, RData::CNAME(rdata::CNAME(alias.clone()))),
        Record::from_rdata(alias, 300, text),
    ];
    Some(reply_with(query, records))
}

/// Over UDP a lie in small letters, over TCP the truth.
fn lower_case_lie(query: Message, carrier: Carrier) -> Option<Message> {
    if carrier == Carrier::Tcp {
        return one_address(query, carrier);
    }
    let name = query.queries[0].name.to_lowercase();
    let mut reply = reply_with(query, [address(&name, 66)]);
    reply.queries[0].name = name;
    Some(reply)
}

#[tokio::test]
async fn plain_servers_are_asked_in_random_case_and_clients_see_their_own() {
    let server = Scripted::start(say_the_name).await;
    let upstream = plain(&[server.address]);
    let mut spellings = std::collections::HashSet::new();
    for number in 0..10 {
        let name = format!("n{number}.Long-Enough-For-Chance.test.");
        let reply = ask(&upstream, &query(&name, RecordType::TXT)).await;
        assert_eq!(reply.queries[0].name.to_ascii(), name);
        assert_eq!(reply.answers[0].name.to_ascii(), name);
        assert_eq!(
            data(&reply)[0],
            format!("{name} alias.Long-Enough-For-Chance.test.")
        );
        let seen = reply.answers[1].data.to_string();
        assert!(seen.eq_ignore_ascii_case(&name), "{seen}");
        spellings.insert(seen.split_once('.').unwrap().1.to_owned());
    }
    assert!(spellings.len() > 8, "{spellings:?}");
}

#[tokio::test]
async fn negative_answers_are_in_the_clients_case() {
    fn absent(query: Message, carrier: Carrier) -> Option<Message> {
        let zone = query.queries[0].name.base_name();
        let mut reply = no_such_name(query, carrier)?;
        reply.authorities[0].name = zone;
        Some(reply)
    }
    let server = Scripted::start(absent).await;
    let upstream = plain(&[server.address]);
    let name = "nobody.Long-Enough-For-Chance.test.";
    let reply = ask(&upstream, &query(name, RecordType::A)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    let owner = reply.authorities[0].name.to_ascii();
    assert_eq!(owner, "Long-Enough-For-Chance.test.");
}

#[tokio::test]
async fn an_answer_in_another_case_is_not_believed() {
    let server = Scripted::start(lower_case_lie).await;
    let upstream = plain(&[server.address]);
    for name in [
        "one.long-enough-for-chance.test.",
        "two.long-enough-for-chance.test.",
    ] {
        let reply = ask(&upstream, &query(name, RecordType::A)).await;
        assert_eq!(data(&reply), [format!("{name} 192.0.2.1")]);
    }
}

#[tokio::test]
async fn a_server_without_tcp_that_keeps_no_case_is_asked_without() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = udp.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    tokio::spawn(serve_udp(udp, lower_case_lie, Arc::clone(&asked)));
    let upstream = plain(&[server]);
    for (name, times) in [
        ("One.long-enough-for-chance.test.", 2),
        ("Two.long-enough-for-chance.test.", 3),
    ] {
        let reply = ask(&upstream, &query(name, RecordType::A)).await;
        assert_eq!(data(&reply), [format!("{name} 192.0.2.66")]);
        assert_eq!(asked.load(Ordering::Relaxed), times);
    }
}

#[tokio::test]
async fn dnsmasq_answers_pass_unchanged() {
    let dnsmasq = Dnsmasq::start(&[
        "--host-record=www.example.test,192.0.2.7,2001:db8::7",
        "--cname=a.example.test,b.example.test,www.example.test",
        "--mx-host=example.test,mail.example.test,10",
        "--txt-record=example.test,hello world",
        "--local=/example.test/",
    ]);
    dnsmasq.ready().await;
    let upstream = plain(&[dnsmasq.address]);

    let chain = ask(&upstream, &query("a.example.test.", RecordType::A)).await;
    let expected = [
        "a.example.test. www.example.test.",
        "www.example.test. 192.0.2.7",
    ];
    assert_eq!(data(&chain), expected);
    assert!(chain.metadata.recursion_available);
    for (name, kind, expected) in [
        ("www.example.test.", RecordType::AAAA, "2001:db8::7"),
        ("example.test.", RecordType::MX, "10 mail.example.test."),
        ("example.test.", RecordType::TXT, "hello world"),
    ] {
        let reply = ask(&upstream, &query(name, kind)).await;
        assert!(data(&reply)[0].contains(expected), "{:?}", data(&reply));
    }
    let missing = ask(&upstream, &query("nobody.example.test.", RecordType::A)).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    let no_data = ask(&upstream, &query("www.example.test.", RecordType::TXT)).await;
    assert_eq!(no_data.metadata.response_code, ResponseCode::NoError);
    assert!(no_data.answers.is_empty());
    let elsewhere = ask(&upstream, &query("example.com.", RecordType::A)).await;
    assert_eq!(elsewhere.metadata.response_code, ResponseCode::Refused);
}

#[tokio::test]
async fn positive_and_negative_answers_are_cached() {
    for script in [one_address as Script, no_such_name] {
        let server = Scripted::start(script).await;
        let upstream = plain(&[server.address]);
        let first = ask(&upstream, &query("www.test.", RecordType::A)).await;
        let second = ask(&upstream, &query("WWW.test.", RecordType::A)).await;
        assert_eq!(data(&first), data(&second));
        assert_eq!(first.metadata.response_code, second.metadata.response_code);
        assert_eq!(first.authorities.len(), second.authorities.len());
        assert_eq!(server.asked(), 1);
        assert_eq!(upstream.counters().cache_hits, 1);
    }
}

#[tokio::test]
async fn negative_answer_shows_its_soa() {
    let server = Scripted::start(no_such_name).await;
    let upstream = plain(&[server.address]);
    let reply = ask(&upstream, &query("nobody.test.", RecordType::A)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(reply.authorities.len(), 1);
    assert_eq!(reply.authorities[0].record_type(), RecordType::SOA);
}

#[tokio::test]
async fn long_answer_comes_by_tcp_and_leaves_truncated_by_udp() {
    let server = Scripted::start(long_over_tcp).await;
    let upstream = plain(&[server.address]);
    let long = query("long.test.", RecordType::A);
    let cut = ask(&upstream, &long).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let whole = ask_over(&upstream, &long, Carrier::Tcp).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 200);
}

#[tokio::test]
async fn unknown_types_and_the_dnssec_bit_pass() {
    let server = Scripted::start(echo_edns).await;
    let upstream = plain(&[server.address]);
    let mut unknown = query("www.test.", RecordType::Unknown(65_400));
    let plain = ask(&upstream, &unknown).await;
    assert!(plain.edns.is_none());
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true);
    unknown.set_edns(edns);
    let secure = ask(&upstream, &unknown).await;
    assert!(secure.edns.as_ref().unwrap().flags().dnssec_ok);
    let bytes = |reply: &Message| match &reply.answers[0].data {
        RData::Unknown { rdata, .. } => rdata.anything.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((bytes(&plain), bytes(&secure)), (vec![0, 7], vec![1, 7]));
}

#[tokio::test]
async fn next_server_answers_for_a_silent_or_refusing_one() {
    for (script, patience_ms) in [(silence as Script, 1900), (refusal, 900)] {
        let first = Scripted::start(script).await;
        let second = Scripted::start(one_address).await;
        let upstream = plain(&[first.address, second.address]);
        let start = Instant::now();
        let reply = ask(&upstream, &query("www.test.", RecordType::A)).await;
        assert_eq!(data(&reply), ["www.test. 192.0.2.1"]);
        assert!(start.elapsed() < Duration::from_millis(patience_ms));
    }
}

#[tokio::test]
async fn dead_upstream_is_servfail_within_five_seconds() {
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = plain(&[dead.local_addr().unwrap()]);
    let start = Instant::now();
    let reply = ask(&upstream, &query("www.test.", RecordType::A)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(upstream.counters().failures, 1);
}

#[tokio::test]
async fn silent_server_is_asked_last_afterwards() {
    let dead = Scripted::start(silence).await;
    let alive = Scripted::start(one_address).await;
    let both = plain(&[dead.address, alive.address]);
    let slow = ask(&both, &query("one.test.", RecordType::A)).await;
    assert_eq!(slow.answers.len(), 1);
    let start = Instant::now();
    let fast = ask(&both, &query("two.test.", RecordType::A)).await;
    assert_eq!(fast.answers.len(), 1);
    assert!(start.elapsed() < Duration::from_millis(900));
}

#[tokio::test]
async fn queries_beyond_the_bound_fail_at_once() {
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = Arc::new(plain(&[dead.local_addr().unwrap()]));
    for number in 0..512 {
        let upstream = Arc::clone(&upstream);
        tokio::spawn(async move {
            ask(
                &upstream,
                &query(&format!("n{number}.test."), RecordType::A),
            )
            .await
        });
    }
    // A query that is counted has taken its place before the next task runs.
    while upstream.counters().exchanges < 512 {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    let reply = ask(&upstream, &query("more.test.", RecordType::A)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(start.elapsed() < Duration::from_millis(900));
    assert_eq!(upstream.counters().refused, 1);
}

#[tokio::test]
async fn without_servers_a_query_fails_at_once() {
    let missing = Upstream::from_resolv_conf("/nonexistent/resolv.conf");
    for upstream in [Upstream::new(&[]), missing] {
        let start = Instant::now();
        let reply = ask(&upstream, &query("www.test.", RecordType::A)).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        assert!(start.elapsed() < Duration::from_millis(900));
    }
}

#[tokio::test]
async fn malformed_messages_are_refused_here() {
    let upstream = Upstream::new(&[]);
    assert!(upstream.exchange(b"scrap", Carrier::Udp).await.is_empty());
    let mut none = query("www.test.", RecordType::A);
    none.queries.clear();
    let bytes = none.to_vec().unwrap();
    let reply = upstream.exchange(&bytes, Carrier::Udp).await;
    let reply = Message::from_vec(&reply).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
}

#[tokio::test]
async fn changed_resolv_conf_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    let text =
        "# comment\nsearch lab\nnameserver 192.0.2.1\nnameserver fe80::1\nnameserver 2001:db8::1\n";
    std::fs::write(&path, text).unwrap();
    let upstream = Upstream::from_resolv_conf(&path);
    let servers = |list: &[&str]| -> Vec<ServerAddress> {
        let address = |server: &&str| server.parse::<SocketAddr>().unwrap().into();
        list.iter().map(address).collect()
    };
    let first = servers(&["192.0.2.1:53", "[2001:db8::1]:53"]);
    assert_eq!(upstream.servers().await, first);
    std::fs::write(&path, "nameserver 192.0.2.9\n").unwrap();
    assert_eq!(upstream.servers().await, first, "within the same second");
    let start = Instant::now();
    while upstream.servers().await == first {
        assert!(start.elapsed() < Duration::from_secs(5), "not read again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(upstream.servers().await, servers(&["192.0.2.9:53"]));
    std::fs::remove_file(&path).unwrap();
    // Longer than the file is left alone.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(upstream.servers().await, servers(&["192.0.2.9:53"]));
}

#[tokio::test]
async fn private_answers_are_blocked_where_asked_for() {
    let dnsmasq = Dnsmasq::start(&[
        "--host-record=inside.test,10.0.0.1",
        "--host-record=outside.test,203.0.113.1",
    ]);
    dnsmasq.ready().await;
    let upstream = plain(&[dnsmasq.address]).blocking_private(true);
    let inside = ask(&upstream, &query("inside.test.", RecordType::A)).await;
    assert_eq!(inside.metadata.response_code, ResponseCode::NoError);
    assert!(inside.answers.is_empty());
    let outside = ask(&upstream, &query("outside.test.", RecordType::A)).await;
    assert_eq!(data(&outside), ["outside.test. 203.0.113.1"]);
    assert_eq!(upstream.counters().blocked, 1);
}

#[tokio::test]
async fn failures_are_kept_for_people() {
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let upstream = plain(&[dead.local_addr().unwrap()]);
    ask(&upstream, &query("www.test.", RecordType::A)).await;
    let failures = upstream.failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(failures[0].server, dead.local_addr().unwrap().to_string());
}
