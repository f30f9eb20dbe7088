//! The case of names in what servers say.
//!
//! # Theory of operation
//!
//! A plain server is asked in letters of random case, which its answer must repeat (draft-vixie-dnsext-dns0x20): who forges
//! one without having seen the question has to guess the case of every letter. Names in an answer that are the question's name,
//! or end like it, would show the random case. They get the client's own letters back.

use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, Record};
use hickory_resolver::net::{DnsError, NetError};

/// Spells the names in a server's word as `asked` is spelt, as far as they end alike.
pub(crate) fn restore(answer: &mut Result<Message, NetError>, asked: &Name) {
    match answer {
        Ok(message) => {
            let sections = [
                &mut message.answers,
                &mut message.authorities,
                &mut message.additionals,
            ];
            for record in sections.into_iter().flatten() {
                restore_record(record, asked);
            }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(nothing))) => {
            if let Some(soa) = &mut nothing.soa {
                restore_name(&mut soa.name, asked);
            }
            if let Some(authorities) = &mut nothing.authorities {
                let mut records = authorities.to_vec();
                for record in &mut records {
                    restore_record(record, asked);
                }
                *authorities = records.into();
            }
        }
        Err(_) => {}
    }
}

fn restore_record(record: &mut Record, asked: &Name) {
    restore_name(&mut record.name, asked);
    match &mut record.data {
        RData::CNAME(name) => restore_name(&mut name.0, asked),
        RData::NS(name) => restore_name(&mut name.0, asked),
        RData::PTR(name) => restore_name(&mut name.0, asked),
        RData::MX(mail) => restore_name(&mut mail.exchange, asked),
        RData::SRV(service) => restore_name(&mut service.target, asked),
        RData::SOA(soa) => {
            restore_name(&mut soa.mname, asked);
            restore_name(&mut soa.rname, asked);
        }
        _ => {}
    }
}

fn restore_name(name: &mut Name, asked: &Name) {
    let alike = name
        .iter()
        .rev()
        .zip(asked.iter().rev())
        .take_while(|(own, asked)| own.eq_ignore_ascii_case(asked))
        .count();
    let own = name.iter().take(name.iter().len() - alike);
    let labels = own.chain(asked.iter().skip(asked.iter().len() - alike));
    if let Ok(mut restored) = Name::from_labels(labels) {
        restored.set_fqdn(name.is_fqdn());
        *name = restored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelt_as_they_were_asked_for_as_far_as_they_end_alike() {
        let asked = Name::from_ascii("Www.Example.test.").unwrap();
        for (said, expected) in [
            ("wWw.exAMPle.TesT.", "Www.Example.test."),
            ("Mail.EXAMPLE.tEst.", "Mail.Example.test."),
            ("eXample.TEST.", "Example.test."),
            ("a.wWW.exAMPle.TesT.", "a.Www.Example.test."),
            ("wWw.other.ORG.", "wWw.other.ORG."),
            (".", "."),
        ] {
            let mut name = Name::from_ascii(said).unwrap();
            restore_name(&mut name, &asked);
            assert_eq!(name.to_ascii(), expected);
        }
    }
}
