//! An image for container engines, made on the spot: busybox, in the form in which Docker saves images.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::run;

/// Writes `localhost/NAME:1` into `dir`, which runs `command` where nothing else is said. In `/www` is its name, for a web server.
pub(crate) fn busybox_image(dir: &Path, name: &str, command: &[&str]) -> PathBuf {
    let saved = dir.join(format!("{name}.tar"));
    let command = serde_json::to_string(command).unwrap();
    let mut script = Command::new("sh");
    script
        .args(["-ec", SAVE, "sh"])
        .arg(dir)
        .args([name, &command]);
    run(&mut script).ok();
    saved
}

const SAVE: &str = r#"
cd "$1" && mkdir "image-$2" && cd "image-$2"
mkdir -p root/bin root/etc root/tmp root/proc root/sys root/dev root/run root/www
cp "$(command -v busybox)" root/bin/busybox
for applet in $(busybox --list); do [ "$applet" = busybox ] || ln -s busybox "root/bin/$applet"; done
printf '#!/bin/sh\nexec sh "$@"\n' >root/bin/bash && chmod +x root/bin/bash
echo "$2" >root/www/index.html
echo root:x:0:0::/:/bin/sh >root/etc/passwd
tar -C root -cf layer.tar .
layer=$(sha256sum layer.tar)
cat >config.json <<X
{"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": $3},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:${layer%% *}"]}}
X
cat >manifest.json <<X
[{"Config": "config.json", "RepoTags": ["localhost/$2:1"], "Layers": ["layer.tar"]}]
X
tar -cf "../$2.tar" manifest.json config.json layer.tar
"#;
