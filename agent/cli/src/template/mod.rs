//! `--format` and `-f`: Go's templates, as far as they are pasted for Docker.
//!
//! Text, values by their path, `range`, `if`, `with`, `else`, variables, pipes, and the functions that [`functions`] names. What
//! else Go's text/template and Docker know is refused by name.

mod evaluate;
mod functions;
mod parse;
mod token;

use std::collections::BTreeMap;

use serde_json::Value;

use self::parse::Node;

/// A template that was read.
#[derive(Debug)]
pub(crate) struct Template(Vec<Node>);

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parsed = parse::parse(text);
        parsed
            .map(Self)
            .map_err(|why| format!("this format is not understood: {why}"))
    }

    /// What it makes of a value. `labels` is for `.Label "key"`.
    pub(crate) fn render(
        &self,
        value: &Value,
        labels: &BTreeMap<String, String>,
    ) -> Result<String, String> {
        let rendered = evaluate::render(&self.0, value, labels);
        rendered.map_err(|why| format!("this format does not fit: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> Result<String, String> {
        let value = serde_json::json!({
            "Id": "0123456789abcdef", "Name": "/web", "Ids": ["b", "a"], "None": null, "Count": 3,
            "State": {"Running": true, "Status": "running", "ExitCode": 0},
            "Config": {"Labels": {"tier": "front", "a.b": "c"}},
            "NetworkSettings": {
                "Networks": {"back": {"IPAddress": "10.9.0.2"}, "web": {"IPAddress": "10.0.0.2"}},
                "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]},
            },
        });
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        Template::parse(text)?.render(&value, &labels)
    }

    #[test]
    fn what_is_pasted_most_is_rendered_as_docker_does() {
        for (text, expected) in [
            ("{{.Name}}", "/web"),
            ("{{ .State.Status }}: {{.State.ExitCode}}", "running: 0"),
            ("{{.NetworkSettings.Networks.web.IPAddress}}", "10.0.0.2"),
            (
                "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
                "10.9.0.2 10.0.0.2 ",
            ),
            (
                "{{range $name, $it := .NetworkSettings.Networks}}{{$name}}={{$it.IPAddress}};{{end}}",
                "back=10.9.0.2;web=10.0.0.2;",
            ),
            (
                r#"{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}"#,
                "8080",
            ),
            (
                "{{range $p, $conf := .NetworkSettings.Ports}}{{$p}} -> {{(index $conf 0).HostPort}}{{end}}",
                "80/tcp -> 8080",
            ),
            (r#"{{index .Config.Labels "a.b"}}"#, "c"),
            (r#"{{index .Config.Labels "none"}}"#, ""),
            (
                "{{json .State}}",
                r#"{"ExitCode":0,"Running":true,"Status":"running"}"#,
            ),
            (
                "{{.State | json}}",
                r#"{"ExitCode":0,"Running":true,"Status":"running"}"#,
            ),
            ("{{.Config.Labels}}", "map[a.b:c tier:front]"),
            (r#"{{.Label "tier"}}{{.Label "none"}}"#, "front"),
            (r#"{{join .Ids ","}} {{len .Ids}}"#, "b,a 2"),
            ("{{.Ids}} {{.None}}", "[b a] <no value>"),
        ] {
            assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn conditions_and_space_are_gos() {
        for (text, expected) in [
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            (
                "{{if .State.ExitCode}}bad{{else if .None}}?{{else}}good{{end}}",
                "good",
            ),
            (
                r#"{{if eq .State.Status "exited" "running"}}known{{end}}"#,
                "known",
            ),
            ("{{if and .State.Running (not .None)}}yes{{end}}", "yes"),
            ("{{if gt .Count 2}}many{{end}}", "many"),
            ("{{with .Config.Labels}}{{.tier}}{{end}}", "front"),
            ("{{with .None}}x{{else}}nothing{{end}}", "nothing"),
            ("a {{- /* not shown */ -}} b {{- .Name -}} \n c", "ab/webc"),
            ("{{range .Ids}}{{.}}{{$.Count}}{{end}}", "b3a3"),
            (
                "{{range $i, $id := .Ids}}{{if $i}},{{end}}{{$id}}{{end}}",
                "b,a",
            ),
            ("{{range .None}}x{{else}}empty{{end}}", "empty"),
            ("{{$n := .Name}}{{$n}}", "/web"),
            ("{{range .Ids}}{{println .}}{{end}}", "b\na\n"),
            (
                r#"{{printf "%-5s|%.4s|%q|%d%%" "ab" .Id "x" .Count}}"#,
                "ab   |0123|\"x\"|3%",
            ),
            ("{{slice .Id 0 3 | upper}} {{`raw`}}", "012 raw"),
        ] {
            assert_eq!(rendered(text).as_deref(), Ok(expected), "{text}");
        }
    }

    /// It is the user's own text, and yet no panic is a report.
    #[test]
    fn every_text_is_rendered_or_refused() {
        const PARTS: [&str; 16] = [
            "{{",
            "}}",
            "{{-",
            " -}}",
            ".Ids",
            "$x",
            "|",
            "(",
            ")",
            "\"",
            "`",
            " ",
            "range ",
            "end",
            ":=",
            "index .Ids -1",
        ];
        for number in 0..PARTS.len().pow(4) {
            let places = (0..4).map(|place| number / PARTS.len().pow(place) % PARTS.len());
            let text: String = places.map(|place| PARTS[place]).collect();
            let _ = rendered(&text);
            let _ = rendered(&format!("{{{{{text}}}}}"));
        }
    }

    #[test]
    fn what_is_wrong_or_not_there_is_named() {
        for (text, told) in [
            ("{{.Nmae}}", "there is no .Nmae; there are .Config, .Count"),
            (
                "{{.State.Paused}}",
                "no .State.Paused; there are .ExitCode, .Running, .Status",
            ),
            ("{{.Name.X}}", ".Name has no parts"),
            ("{{.None.X}}", ".None is empty"),
            ("{{frob .Name}}", "no function frob; there are and,"),
            ("{{template \"x\"}}", "template is not taken"),
            ("{{range .Ids}}", "an {{end}} is missing"),
            ("{{end}}", "{{end}} ends nothing"),
            ("{{.Name", "a }} is missing"),
            ("{{$x}}", "there is no variable $x"),
            ("{{}}", "an action is empty"),
            ("{{index .Ids 5}}", "5 is out of range"),
            ("{{range .Name}}{{end}}", "range goes over a list or a map"),
            ("{{\"a}}", "is not closed"),
        ] {
            let refused = rendered(text).unwrap_err();
            assert!(refused.contains(told), "{text}: {refused}");
        }
        let deep = "{{if .Name}}".repeat(1000);
        assert!(rendered(&deep).unwrap_err().contains("too deep"));
        let deep = format!("{{{{{}}}}}", "(".repeat(1000));
        assert!(rendered(&deep).unwrap_err().contains("too deep"));
    }
}
