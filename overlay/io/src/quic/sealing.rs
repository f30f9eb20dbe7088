//! What seals datagrams: AES-128-GCM in the widest instructions of the CPU.
//!
//! # Theory of operation
//!
//! aws-lc seals with AES instructions on 512 bits or on 128, ring on 256 or on 128. So on a CPU that has them on 256 bits and not on 512
//! (AMD's Zen 3, Intel's E cores), ring takes half the time; elsewhere aws-lc is the faster. Both make the same bytes of the same key.
//! Everything else of TLS is aws-lc's, the protection of headers too.

use std::sync::LazyLock;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::crypto::aws_lc_rs::cipher_suite;
use rustls::crypto::cipher::{AeadKey, Iv, Nonce as TlsNonce};
use rustls::quic::{Algorithm, HeaderProtectionKey, PacketKey, Tag};
use rustls::{Error, SupportedCipherSuite, Tls13CipherSuite};

/// `TLS13_AES_128_GCM_SHA256` with whichever library seals datagrams faster here.
pub(super) fn aes_128_gcm() -> SupportedCipherSuite {
    if is_widest_256() {
        SupportedCipherSuite::Tls13(&WITH_RING)
    } else {
        cipher_suite::TLS13_AES_128_GCM_SHA256
    }
}

#[cfg(target_arch = "x86_64")]
fn is_widest_256() -> bool {
    use std::is_x86_feature_detected as has;
    has!("vaes") && has!("vpclmulqdq") && has!("avx2") && !has!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
const fn is_widest_256() -> bool {
    false
}

static WITH_RING: LazyLock<Tls13CipherSuite> = LazyLock::new(|| {
    let suite = of_aws_lc();
    Tls13CipherSuite {
        common: rustls::crypto::CipherSuiteCommon {
            suite: suite.common.suite,
            hash_provider: suite.common.hash_provider,
            confidentiality_limit: suite.common.confidentiality_limit,
        },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: suite.aead_alg,
        quic: Some(&WideGcm),
    }
});

fn of_aws_lc() -> &'static Tls13CipherSuite {
    match cipher_suite::TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls13(suite) => suite,
        SupportedCipherSuite::Tls12(_) => unreachable!("a suite of TLS 1.3 is one"),
    }
}

fn headers() -> &'static dyn Algorithm {
    of_aws_lc().quic.expect("aws-lc's suites have QUIC")
}

/// Datagrams by ring, headers by aws-lc.
struct WideGcm;

impl Algorithm for WideGcm {
    fn packet_key(&self, key: AeadKey, iv: Iv) -> Box<dyn PacketKey> {
        let key =
            UnboundKey::new(&AES_128_GCM, key.as_ref()).expect("rustls asked how long a key is");
        Box::new(WideKey {
            key: LessSafeKey::new(key),
            iv,
        })
    }

    fn header_protection_key(&self, key: AeadKey) -> Box<dyn HeaderProtectionKey> {
        headers().header_protection_key(key)
    }

    fn aead_key_len(&self) -> usize {
        AES_128_GCM.key_len()
    }
}

struct WideKey {
    key: LessSafeKey,
    iv: Iv,
}

impl WideKey {
    /// RFC 9001 §5.3: the packet's number, which is never used twice with a key.
    fn nonce(&self, number: u64) -> Nonce {
        Nonce::assume_unique_for_key(TlsNonce::new(&self.iv, number).0)
    }
}

impl PacketKey for WideKey {
    fn encrypt_in_place(
        &self,
        number: u64,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<Tag, Error> {
        let sealed =
            self.key
                .seal_in_place_separate_tag(self.nonce(number), Aad::from(header), payload);
        let tag = sealed.map_err(|_| Error::EncryptError)?;
        Ok(Tag::from(tag.as_ref()))
    }

    fn decrypt_in_place<'a>(
        &self,
        number: u64,
        header: &[u8],
        payload: &'a mut [u8],
    ) -> Result<&'a [u8], Error> {
        let opened = self
            .key
            .open_in_place(self.nonce(number), Aad::from(header), payload);
        opened.map(|plain| &*plain).map_err(|_| Error::DecryptError)
    }

    fn tag_len(&self) -> usize {
        AES_128_GCM.tag_len()
    }

    fn confidentiality_limit(&self) -> u64 {
        CONFIDENTIALITY_LIMIT
    }

    fn integrity_limit(&self) -> u64 {
        INTEGRITY_LIMIT
    }
}

/// Packets that one key may seal (RFC 9001 §6.6).
const CONFIDENTIALITY_LIMIT: u64 = 1 << 23;
/// Packets that may fail to be opened with one key (RFC 9001 §6.6).
const INTEGRITY_LIMIT: u64 = 1 << 52;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustls::Side;
    use rustls::quic::{Keys, Version};

    use super::*;

    /// What a client of RFC 9001's example (appendix A) seals its first packets with, by either library.
    fn keys() -> [Box<dyn PacketKey>; 2] {
        let connection = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        [&WideGcm, headers()].map(|by| {
            Keys::initial(Version::V1, of_aws_lc(), by, &connection, Side::Client)
                .local
                .packet
        })
    }

    proptest! {
        #[test]
        fn both_libraries_make_the_same_of_a_datagram(
            number in 0..1_u64 << 62,
            header in proptest::collection::vec(any::<u8>(), 1..40),
            payload in proptest::collection::vec(any::<u8>(), 0..1500),
        ) {
            let [wide, other] = keys();
            for (seals, opens) in [(&wide, &other), (&other, &wide)] {
                let mut sealed = payload.clone();
                let tag = seals.encrypt_in_place(number, &header, &mut sealed).unwrap();
                sealed.extend(tag.as_ref());
                let mut forged = sealed.clone();
                let opened = opens.decrypt_in_place(number, &header, &mut sealed);
                prop_assert_eq!(opened.unwrap(), &payload[..]);
                forged[0] ^= 1;
                prop_assert!(opens.decrypt_in_place(number, &header, &mut forged).is_err());
            }
        }
    }

    #[test]
    fn both_libraries_promise_the_same() {
        let [wide, other] = keys();
        assert_eq!(wide.tag_len(), other.tag_len());
        assert_eq!(wide.confidentiality_limit(), other.confidentiality_limit());
        assert_eq!(wide.integrity_limit(), other.integrity_limit());
        assert_eq!(WideGcm.aead_key_len(), headers().aead_key_len());
    }

    #[test]
    fn the_suite_is_the_one_that_quic_begins_with() {
        let suite = aes_128_gcm();
        assert_eq!(suite.suite(), rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    }
}
