//! Filters in tcpdump's language, as programs.

use std::ffi::CString;

use agent_api::BpfProgram;

use crate::failure::Failure;
use crate::sys::libpcap::{Libpcap, NAMES};

/// Compiles a filter; an empty one takes every frame.
pub(super) fn compile(filter: &str, snap_len: u32) -> Result<BpfProgram, Failure> {
    compile_by(NAMES, filter, snap_len)
}

fn compile_by(libraries: &[&str], filter: &str, snap_len: u32) -> Result<BpfProgram, Failure> {
    if filter.trim().is_empty() {
        return Ok(BpfProgram::default());
    }
    let libpcap = Libpcap::load(libraries).map_err(|_| {
        Failure::said(
            "a filter needs libpcap, which is not installed; install Debian's package libpcap0.8, or capture without a filter",
        )
    })?;
    let refused = |why: &str| {
        Failure::usage(format!(
            "filter {filter:?}: {why}; man pcap-filter has the language, as in: icmp and host 10.0.0.2"
        ))
    };
    let text = CString::new(filter).map_err(|_| refused("it has a zero byte"))?;
    let program = libpcap.compile(&text, snap_len);
    let program = program.map_err(|why| refused(shortened(&why)))?;
    if program.len() > BpfProgram::LEN_MAX {
        return Err(refused("it becomes too long a program"));
    }
    Ok(BpfProgram(program))
}

/// libpcap says first that it cannot parse the filter, which everybody sees.
fn shortened(why: &str) -> &str {
    why.strip_prefix("can't parse filter expression: ")
        .unwrap_or(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_become_programs() {
        assert_eq!(compile(" ", 0).unwrap(), BpfProgram::default());
        let program = compile("icmp", 262_144).unwrap();
        // As `tcpdump -y EN10MB -s 262144 -dd icmp` has it.
        let expected = [
            "002800000000000c",
            "0015000300000800",
            "0030000000000017",
            "0015000100000001",
            "0006000000040000",
            "0006000000000000",
        ];
        assert_eq!(program.to_string(), expected.concat());
    }

    #[test]
    fn a_wrong_filter_is_told_in_one_line() {
        for wrong in ["icmpp and", "port", "host 10.0.0.999", "a\0b"] {
            let told = compile(wrong, 96).unwrap_err();
            assert_eq!(told.code(), 2, "{told}");
            let told = told.to_string();
            assert!(!told.contains('\n') && told.len() < 400, "{told}");
            assert!(told.starts_with("filter "), "{told}");
        }
    }

    #[test]
    fn without_the_library_the_package_is_named() {
        let none = &["libtapestry-nowhere.so.1"];
        let told = compile_by(none, "icmp", 96).unwrap_err().to_string();
        assert!(told.contains("libpcap0.8"), "{told}");
        assert_eq!(compile_by(none, "", 96).unwrap(), BpfProgram::default());
    }
}
