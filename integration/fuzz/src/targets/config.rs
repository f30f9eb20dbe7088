//! The agent's configuration file.

use agent_daemon::check_config;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "config",
    run,
    length_max: 1024,
    words: &[
        b"engine = ",
        b"workers = ",
        b"[dns]\n",
        b"resolv_conf = ",
        b"[vxlan]\n",
        b"packet_ring = ",
        b"[cluster]\n",
        b"lease_s = ",
        b"certificate_s = ",
        b"[docker]\n",
        b"plugin = ",
        b"default-address-pools = [{base = \"10.0.0.0/8\", size = 24}]",
        b"[[default-address-pools]]\n",
    ],
};

/// Whatever the file says, it is taken or refused in a line that can be shown.
fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Err(why) = check_config(text) {
        assert!(!why.is_empty());
        assert!(why.len() <= 1000, "{} bytes", why.len());
        assert!(!why.contains('\n'), "{why:?}");
    }
}
