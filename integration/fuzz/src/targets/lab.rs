//! Labs' files, of containerlab (`c` before them) and of Kathara (`k`), up to what the agent is asked for, and the pictures.

use std::path::{Path, PathBuf};

use integration::lab::{self, Desired, Environment, Plan, Present};

use crate::Target;
use crate::input::kind;

pub(crate) const TARGET: Target = Target {
    name: "lab",
    run,
    length_max: 4096,
    words: &[
        b"name: x\n",
        b"topology:\n",
        b"  nodes:\n",
        b"    a: {kind: linux}\n",
        b"    b: {kind: bridge}\n",
        b"  links:\n",
        b"    - endpoints: [\"a:eth1\", \"b:eth1\"]\n",
        b"      mtu: 1500\n",
        b"type: veth",
        b"exec: [ip link]",
        b"binds: [\"/etc:/etc:ro\"]",
        b"ports: [\"8080:80/udp\"]",
        b"mgmt-ipv4: 172.20.20.9",
        b"network-mode: none",
        b"__clabNodeName__",
        b"${V:=d}",
        b"$$",
        b"&a ",
        b"*a",
        b"<<: ",
        b"a[0]=\"A/02:00:00:00:00:01\"\n",
        b"a[image]=\"kathara/base\"\n",
        b"LAB_NAME=\"x\"\n",
    ],
};

fn run(input: &[u8]) {
    let Some((kind, text)) = kind(input) else {
        return;
    };
    let (Ok(text), Some(file)) = (std::str::from_utf8(text), name(kind)) else {
        return;
    };
    let env = Environment {
        var: &|name| (name == "V").then(|| "v".to_owned()),
        is_there: &|_| true,
        runtime: None,
        dir: PathBuf::from("/labs/x"),
    };
    match lab::read(Path::new(file), text, &env) {
        Ok(lab) => {
            let desired = Desired::of(&lab);
            let plan = Plan::of(&desired, &Present::default());
            assert_eq!(plan.create_networks.len(), lab.segments.len());
            assert_eq!(plan.start.len(), lab.nodes.len());
            for name in plan.create_networks.iter().map(|network| &network.name) {
                assert!(name.len() <= 63, "{name}");
            }
            assert!(lab::svg(&lab).ends_with("</svg>\n"));
            assert!(!lab::dot(&lab).is_empty() && !lab::mermaid(&lab).is_empty());
        }
        Err(refused) => {
            let told = refused.to_string();
            assert!(told.starts_with(file) && told.len() < 800, "{told:?}");
            assert!(!told.contains('\n'), "{told:?}");
        }
    }
}

fn name(kind: u8) -> Option<&'static str> {
    match kind {
        b'c' => Some("x.clab.yml"),
        b'k' => Some("lab.conf"),
        _ => None,
    }
}
