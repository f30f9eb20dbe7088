//! `--format`: how lists and inspections are shown, in Docker's words.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::output;
use crate::template::Template;

/// What `--format` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The table that is shown without `--format`.
    Table,
    /// A table of these columns.
    Columns(String),
    /// One line of JSON each.
    Json,
    /// One line each, as a template says.
    Lines(String),
}

/// One thing of a list, by the names of the columns.
pub(crate) struct Row {
    pub(crate) columns: Vec<(&'static str, String)>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// `table`, `json`, `table TEMPLATE` or `TEMPLATE`.
pub(crate) fn format(text: &str) -> Result<Format, String> {
    // A shell hands these on as they are written.
    let unescaped = || text.replace("\\t", "\t").replace("\\n", "\n");
    let format = match text {
        "" | "table" => return Ok(Format::Table),
        "json" => return Ok(Format::Json),
        "raw" => return Err("raw is not taken; write json, or a template as {{.ID}}".to_owned()),
        _ => match unescaped().strip_prefix("table ") {
            Some(columns) => Format::Columns(columns.trim_start().to_owned()),
            None => Format::Lines(unescaped()),
        },
    };
    let (Format::Columns(template) | Format::Lines(template)) = &format else {
        return Ok(format);
    };
    Template::parse(template)?;
    Ok(format)
}

impl Format {
    /// The rows, with `headers` for their columns; nothing where it asks for the usual table.
    pub(crate) fn list(
        &self,
        rows: &[Row],
        headers: &[(&'static str, &'static str)],
    ) -> Result<Option<String>, Failure> {
        let lines = |template: &str| -> Result<Vec<String>, Failure> {
            let template = Template::parse(template).map_err(Failure::said)?;
            let lines = rows
                .iter()
                .map(|row| template.render(&row.value(), &row.labels));
            let lines: Result<_, String> = lines.collect();
            lines.map_err(Failure::said)
        };
        match self {
            Self::Table => Ok(None),
            Self::Json => lines("{{json .}}").map(|lines| Some(joined(&lines))),
            Self::Lines(template) => lines(template).map(|lines| Some(joined(&lines))),
            Self::Columns(template) => {
                let header = Row {
                    columns: headers
                        .iter()
                        .map(|(name, header)| (*name, (*header).to_owned()))
                        .collect(),
                    labels: BTreeMap::new(),
                };
                let parsed = Template::parse(template).map_err(Failure::said)?;
                let header = parsed.render(&header.value(), &header.labels);
                let header = header.map_err(Failure::said)?;
                let header: Vec<&str> = header.split('\t').collect();
                let cells = lines(template)?.into_iter();
                let cells = cells.map(|line| line.split('\t').map(str::to_owned).collect());
                Ok(Some(output::table(&header, cells.collect::<Vec<Vec<_>>>())))
            }
        }
    }

    /// What each thing is rendered by, where things are shown one by one; nothing where it asks for what is shown anyway. `no_table` refuses
    /// columns.
    pub(crate) fn template(&self, no_table: &str) -> Result<Option<Template>, Failure> {
        let template = match self {
            Self::Table => return Ok(None),
            Self::Json => "{{json .}}",
            Self::Lines(template) => template,
            Self::Columns(_) => return Err(Failure::usage(no_table)),
        };
        Template::parse(template).map(Some).map_err(Failure::said)
    }

    /// Values that were inspected, one line each; nothing where it asks for what is shown anyway.
    pub(crate) fn inspected(&self, values: &[Value]) -> Result<Option<String>, Failure> {
        let no_table = "inspect shows no table; write a template, as in -f '{{.Name}}'";
        let Some(template) = self.template(no_table)? else {
            return Ok(None);
        };
        let lines = values
            .iter()
            .map(|value| template.render(value, &BTreeMap::new()));
        let lines: Result<Vec<_>, String> = lines.collect();
        lines
            .map(|lines| Some(joined(&lines)))
            .map_err(Failure::said)
    }
}

impl Row {
    fn value(&self) -> Value {
        let columns = self.columns.iter();
        let columns = columns.map(|(name, text)| ((*name).to_owned(), text.clone().into()));
        Value::Object(columns.collect::<Map<_, _>>())
    }
}

/// As Docker shows them in a column.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> String {
    let each: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    each.join(",")
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let row = |name: &str, scope: &str| Row {
            columns: vec![("Name", name.to_owned()), ("Scope", scope.to_owned())],
            labels: [("tier".to_owned(), name.to_owned())].into(),
        };
        vec![row("bridge", "local"), row("a-longer-name", "global")]
    }

    fn listed(text: &str) -> Option<String> {
        let headers = [("Name", "NAME"), ("Scope", "SCOPE")];
        format(text).unwrap().list(&rows(), &headers).unwrap()
    }

    #[test]
    fn a_list_is_lines_json_or_a_table_of_some_columns() {
        assert_eq!(listed("table"), None);
        assert_eq!(listed("{{.Name}}").unwrap(), "bridge\na-longer-name\n");
        assert_eq!(
            listed(r#"{{.Label "tier"}}"#).unwrap(),
            "bridge\na-longer-name\n"
        );
        assert_eq!(
            listed("json").unwrap().lines().next(),
            Some(r#"{"Name":"bridge","Scope":"local"}"#)
        );
        insta::assert_snapshot!(listed(r"table {{.Scope}}\t{{.Name}}").unwrap(), @r"
        SCOPE     NAME
        local     bridge
        global    a-longer-name
        ");
    }

    #[test]
    fn a_column_that_is_not_there_is_named() {
        for wrong in ["{{", "raw", "{{frob}}", "table {{"] {
            let refused = format(wrong).and_then(|format| {
                let listed = format.list(&rows(), &[]);
                listed.map(drop).map_err(|failure| failure.to_string())
            });
            assert!(refused.is_err(), "{wrong}");
        }
        let refused = format("{{.Image}}")
            .unwrap()
            .list(&rows(), &[])
            .unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("no .Image; there are .Name, .Scope"),
            "{refused}"
        );
    }
}
