//! The functions of templates, and how Go shows values.

use std::cmp::Ordering;

use serde_json::Value;

/// Calls a function by name; what is piped in is the last of its arguments.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let wrong = || format!("{name} is not given what it takes");
    let texts = || arguments.iter().map(shown).collect::<Vec<_>>();
    match (name, arguments) {
        ("json", [value]) => Ok(value.to_string().into()),
        ("len", [value]) => length(value).map(Into::into).ok_or_else(wrong),
        ("index", [value, keys @ ..]) => index(value, keys),
        ("slice", [value, bounds @ ..]) => slice(value, bounds).ok_or_else(wrong),
        ("lower", [Value::String(text)]) => Ok(text.to_lowercase().into()),
        ("upper", [Value::String(text)]) => Ok(text.to_uppercase().into()),
        ("title", [Value::String(text)]) => Ok(title(text).into()),
        ("join", [Value::Array(list), Value::String(between)]) => Ok(list
            .iter()
            .map(shown)
            .collect::<Vec<_>>()
            .join(between)
            .into()),
        ("split", [Value::String(text), Value::String(at)]) => Ok(text.split(&**at).collect()),
        ("truncate", [Value::String(text), length]) => {
            let length = whole(length).ok_or_else(wrong)?;
            Ok(text.chars().take(length).collect::<String>().into())
        }
        ("println", _) => Ok((texts().join(" ") + "\n").into()),
        ("print", _) => Ok(texts().concat().into()),
        ("printf", [Value::String(format), values @ ..]) => printf(format, values).map(Into::into),
        ("not", [value]) => Ok((!is_true(value)).into()),
        ("and", [_, ..]) => Ok(first_or_last(arguments, |value| !is_true(value))),
        ("or", [_, ..]) => Ok(first_or_last(arguments, is_true)),
        ("eq", [one, others @ ..]) if !others.is_empty() => Ok(others.contains(one).into()),
        ("ne", [one, other]) => Ok((one != other).into()),
        ("lt" | "le" | "gt" | "ge", [one, other]) => {
            let order = compared(one, other).ok_or_else(wrong)?;
            let holds = match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            };
            Ok(holds.into())
        }
        _ if FUNCTIONS.contains(&name) => Err(wrong()),
        _ => Err(format!(
            "there is no function {name}; there are {}",
            FUNCTIONS.join(", ")
        )),
    }
}

/// As Go prints it.
pub(super) fn shown(value: &Value) -> String {
    let joined = |each: Vec<String>| each.join(" ");
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(list) => format!("[{}]", joined(list.iter().map(shown).collect())),
        Value::Object(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", shown(value)));
            format!("map[{}]", joined(pairs.collect()))
        }
    }
}

/// What `if` takes for true: all that is not empty.
pub(super) fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(_) | Value::Array(_) | Value::Object(_) => length(value) != Some(0),
    }
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.len()),
        Value::Array(list) => Some(list.len()),
        Value::Object(map) => Some(map.len()),
        _ => None,
    }
}

fn whole(value: &Value) -> Option<usize> {
    value
        .as_u64()
        .and_then(|number| usize::try_from(number).ok())
}

/// What a map does not have is empty, as in Go.
fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut here = value.clone();
    for key in keys {
        here = match (&here, key) {
            (Value::Object(map), Value::String(key)) => map
                .get(key)
                .cloned()
                .unwrap_or_else(|| String::new().into()),
            (Value::Array(list), Value::Number(_)) => {
                let found = whole(key).and_then(|at| list.get(at));
                found
                    .cloned()
                    .ok_or_else(|| format!("index: {key} is out of range"))?
            }
            _ => return Err(format!("index: {} has no {}", shown(&here), shown(key))),
        };
    }
    Ok(here)
}

fn slice(value: &Value, bounds: &[Value]) -> Option<Value> {
    let bounds: Vec<usize> = bounds.iter().map(whole).collect::<Option<_>>()?;
    let (from, to) = match bounds.as_slice() {
        [] => (0, length(value)?),
        [from] => (*from, length(value)?),
        [from, to] => (*from, *to),
        _ => return None,
    };
    match value {
        Value::String(text) => text.get(from..to).map(Into::into),
        Value::Array(list) => list.get(from..to).map(Into::into),
        _ => None,
    }
}

fn title(text: &str) -> String {
    let mut is_first = true;
    let each = text.chars().map(|c| {
        let shown = if is_first { c.to_ascii_uppercase() } else { c };
        is_first = c.is_whitespace();
        shown
    });
    each.collect()
}

fn first_or_last(values: &[Value], is_it: impl Fn(&Value) -> bool) -> Value {
    let found = values.iter().find(|value| is_it(value)).or(values.last());
    found.cloned().unwrap_or_default()
}

fn compared(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

/// `%s`, `%v`, `%d`, `%q`, `%t` and `%%`, with `-`, a width and a precision.
fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut rest = format;
    while let Some((before, directive)) = rest.split_once('%') {
        text.push_str(before);
        let at = directive.find(|c: char| !"-.0123456789".contains(c));
        let at = at.ok_or("printf: a % stands alone")?;
        let (flags, after) = directive.split_at(at);
        let mut after = after.chars();
        let verb = after.next().unwrap_or('%');
        rest = after.as_str();
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or("printf: there are more % than values")?;
        let value = match verb {
            's' | 'v' | 'd' | 't' => shown(value),
            'q' => format!("{:?}", shown(value)),
            _ => {
                return Err(format!(
                    "printf: %{verb} is not taken; use %s, %v, %d, %q or %t"
                ));
            }
        };
        text.push_str(&padded(&value, flags)?);
    }
    text.push_str(rest);
    match values.next() {
        None => Ok(text),
        Some(_) => Err("printf: there are more values than %".to_owned()),
    }
}

fn padded(value: &str, flags: &str) -> Result<String, String> {
    let number = |digits: &str| match digits {
        "" => Ok(None),
        digits => match digits.parse::<usize>() {
            Ok(number) if number <= WIDTH_MAX => Ok(Some(number)),
            _ => Err(format!("printf: %{flags} is not a width and a precision")),
        },
    };
    let (is_left, sizes) = match flags.strip_prefix('-') {
        Some(sizes) => (true, sizes),
        None => (false, flags),
    };
    let (width, most) = sizes.split_once('.').unwrap_or((sizes, ""));
    let cut: String = match number(most)? {
        Some(most) => value.chars().take(most).collect(),
        None => value.to_owned(),
    };
    let width = number(width)?.unwrap_or(0);
    Ok(match is_left {
        true => format!("{cut:<width$}"),
        false => format!("{cut:>width$}"),
    })
}

const WIDTH_MAX: usize = 1000;
const FUNCTIONS: [&str; 22] = [
    "and", "eq", "ge", "gt", "index", "join", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "print", "printf", "println", "slice", "split", "title", "truncate", "upper",
];
