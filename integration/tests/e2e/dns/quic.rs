//! DNS over QUIC (RFC 9250), in front of the plain name server: Debian has no server for it.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::oneshot;

use super::name_server::NameServer;
use crate::harness::Host;

/// Runs until it is dropped.
pub(super) struct QuicServer {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl QuicServer {
    /// Listens beside `server`, with its certificate.
    pub(super) fn start(host: &Host, server: &NameServer) -> Self {
        let certificate = CertificateDer::from_pem_file(host.dir().join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(host.dir().join("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        tls.alpn_protocols = vec![b"doq".to_vec()];
        let tls = QuicServerConfig::try_from(tls).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        let (listener, asker) = server.netns.enter(|| {
            let listener = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, QUIC_SERVER_PORT)).unwrap();
            let asker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            asker.connect((Ipv4Addr::LOCALHOST, 53)).unwrap();
            let patience = Duration::from_secs(5);
            asker.set_read_timeout(Some(patience)).unwrap();
            (listener, asker)
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = serve(config, listener, &asker) => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for QuicServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection and one query after the other.
async fn serve(config: quinn::ServerConfig, listener: UdpSocket, asker: &UdpSocket) {
    let runtime = Arc::new(quinn::TokioRuntime);
    let endpoint =
        quinn::Endpoint::new(Default::default(), Some(config), listener, runtime).unwrap();
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else {
            continue;
        };
        while let Ok((mut reply, mut query)) = connection.accept_bi().await {
            // RFC 9250 §4.2: a length, a message under the id 0, and the end.
            let asked = query.read_to_end(4096).await.unwrap();
            assert_eq!(asked[2..4], [0, 0], "the id is not 0");
            asker.send(&asked[2..]).unwrap();
            let mut answer = vec![0; 4096];
            let length = asker.recv(&mut answer).unwrap();
            let prefix = u16::try_from(length).unwrap().to_be_bytes();
            reply.write_all(&prefix).await.unwrap();
            reply.write_all(&answer[..length]).await.unwrap();
            reply.finish().unwrap();
        }
    }
}

/// unbound listens at the usual one, for nothing.
pub(super) const QUIC_SERVER_PORT: u16 = 8853;
