//! How what is expected is written.
//!
//! JSON stands for itself: the same members in the same order, the same values. In texts:
//!
//! * `"${name}"` is the value of a variable, also within a text; `"${${name}}"` that of the variable whose name it is.
//! * `"<Shape>"` is any value of that shape, and `"<Shape as name>"` also keeps its text as a variable.
//! * `"<Shape of ${name}>"` is the same value of that shape wherever it is said in a scenario: what one thing always has.
//! * `["<for i in 6..35>", item]` is an array of these thirty items; `35..6` runs backwards.
//! * `"<any>"` is any value.

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// How far from now a time may be that is of now: less than zones differ by.
const NOW: TimeDelta = TimeDelta::minutes(10);

/// What has been kept, by name.
pub type Variables = BTreeMap<String, String>;
/// Shapes by name.
pub type Shapes = BTreeMap<String, Shape>;

/// A shape of values.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// `string`, `integer` or `boolean`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A regular expression its text matches as a whole.
    pub matches: Option<String>,
    /// It is a time of now, in this form.
    pub now: Option<TimeForm>,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeForm {
    /// Microseconds since 1970.
    Micros,
    /// Milliseconds since 1970.
    Millis,
    /// Seconds since 1970.
    Seconds,
    /// Text, with a zone.
    Rfc3339,
}

impl TimeForm {
    fn read(self, found: &Value) -> Option<DateTime<Utc>> {
        match self {
            Self::Micros => DateTime::from_timestamp_micros(found.as_i64()?),
            Self::Millis => DateTime::from_timestamp_millis(found.as_i64()?),
            Self::Seconds => DateTime::from_timestamp_secs(found.as_i64()?),
            Self::Rfc3339 => Some(DateTime::parse_from_rfc3339(found.as_str()?).ok()?.to_utc()),
        }
    }
}

impl Shape {
    fn check(&self, found: &Value) -> Result<()> {
        let right = match self.kind.as_str() {
            "string" => found.is_string(),
            "integer" => found.is_i64() || found.is_u64(),
            "boolean" => found.is_boolean(),
            other => bail!("no type is called {other}"),
        };
        ensure!(right, "{found} is no {}", self.kind);
        if let Some(pattern) = &self.matches {
            let whole = Regex::new(&format!("^(?:{pattern})$"))?;
            ensure!(whole.is_match(&text_of(found)), "{found} does not match {pattern}");
        }
        if let Some(form) = self.now {
            let time = form.read(found).with_context(|| format!("{found} is no time in the form {form:?}"))?;
            let now = Utc::now();
            ensure!((now - time).abs() <= NOW, "{found} is {time}, and now it is {now}");
        }
        Ok(())
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Puts variables into a text.
pub fn fill(text: &str, variables: &Variables) -> Result<String> {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let end = end_of_name(after).with_context(|| format!("an open variable: {text}"))?;
        let (name, after) = (fill(&after[..end], variables)?, &after[end + 1..]);
        let value = variables.get(&name).with_context(|| format!("no variable is called {name}: {text}"))?;
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    Ok(filled + rest)
}

/// Where the `}` is that ends a name, which may have variables in it.
fn end_of_name(text: &str) -> Option<usize> {
    let mut open = 0;
    text.bytes().position(|byte| {
        match byte {
            b'{' => open += 1,
            b'}' if open == 0 => return true,
            b'}' => open -= 1,
            _ => {}
        }
        false
    })
}

/// The same within JSON. A whole text `${name}` in the form `"#${name}"` becomes a number.
pub fn fill_json(value: &Value, variables: &Variables) -> Result<Value> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix('#').filter(|rest| rest.starts_with("${")) {
            Some(number) => serde_json::from_str(&fill(number, variables)?)?,
            None => Value::String(fill(text, variables)?),
        },
        Value::Array(items) => items.iter().map(|item| fill_json(item, variables)).collect::<Result<_>>()?,
        Value::Object(members) => {
            let filled = members.iter().map(|(name, value)| Ok((name.clone(), fill_json(value, variables)?)));
            Value::Object(filled.collect::<Result<_>>()?)
        }
        other => other.clone(),
    })
}

/// Compares what was found with what is expected, and keeps what is to be kept.
pub fn compare(expected: &Value, found: &Value, shapes: &Shapes, variables: &mut Variables) -> Result<()> {
    match (expected, found) {
        (Value::Object(wanted), Value::Object(members)) => {
            let (names, expected): (Vec<_>, Vec<_>) = (members.keys().collect(), wanted.keys().collect());
            ensure!(names == expected, "members {names:?} instead of {expected:?}");
            for (name, value) in members {
                compare(&wanted[name], value, shapes, variables).with_context(|| name.clone())?;
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(items)) => {
            let wanted = expand(wanted)?;
            for (index, (wanted, item)) in wanted.iter().zip(items).enumerate() {
                compare(wanted, item, shapes, variables).with_context(|| format!("item {index}"))?;
            }
            ensure!(wanted.len() == items.len(), "{} items instead of {}", items.len(), wanted.len());
            Ok(())
        }
        (Value::String(text), _) => compare_text(text, found, shapes, variables),
        _ => {
            ensure!(expected == found, "{found} instead of {expected}");
            Ok(())
        }
    }
}

fn compare_text(expected: &str, found: &Value, shapes: &Shapes, variables: &mut Variables) -> Result<()> {
    let Some(named) = expected.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) else {
        let filled = fill_json(&Value::String(expected.to_owned()), variables)?;
        ensure!(*found == filled, "{found} instead of {filled}");
        return Ok(());
    };
    let (shape, keep, fixed) = match (named.split_once(" as "), named.split_once(" of ")) {
        (Some((shape, name)), _) => (shape, Some(fill(name, variables)?), false),
        (None, Some((shape, _))) => (shape, Some(fill(named, variables)?), true),
        (None, None) => (named, None, false),
    };
    if shape != "any" {
        shapes.get(shape).with_context(|| format!("no shape is called {shape}"))?.check(found)?;
    }
    let Some(name) = keep else { return Ok(()) };
    let text = text_of(found);
    match variables.get(&name) {
        Some(before) if fixed => ensure!(*before == text, "{text}, and before it was {before}"),
        _ => drop(variables.insert(name, text)),
    }
    Ok(())
}

/// Writes out `["<for i in 1..3>", item]`.
fn expand(items: &[Value]) -> Result<Vec<Value>> {
    let [Value::String(head), item] = items else { return Ok(items.to_vec()) };
    let Some(range) = head.strip_prefix("<for i in ").and_then(|rest| rest.strip_suffix('>')) else {
        return Ok(items.to_vec());
    };
    let (from, to) = range.split_once("..").context("no range")?;
    let (from, to): (u32, u32) = (from.parse()?, to.parse()?);
    let numbers: Vec<u32> = if from <= to { (from..=to).collect() } else { (to..=from).rev().collect() };
    let item = item.to_string();
    let written = |i: u32| item.replace("\"#${i}\"", &i.to_string()).replace("${i}", &i.to_string());
    numbers.into_iter().map(|i| Ok(serde_json::from_str(&written(i))?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(expected: &Value, found: &Value) -> Result<Variables> {
        let shapes = serde_json::from_value(json!({
            "Id": { "type": "string", "matches": "[a-z]" },
            "Int": { "type": "integer" },
            "Micros": { "type": "integer", "now": "micros" },
            "Text": { "type": "string", "now": "rfc3339" },
        }))?;
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut variables = Variables::from([variable("x", "7"), variable("y", "x")]);
        compare(expected, found, &shapes, &mut variables)?;
        Ok(variables)
    }

    #[test]
    fn only_the_same_is_the_same() {
        let same = [
            (json!({ "a": 1, "b": null }), json!({ "a": 1, "b": null })),
            (json!(["<Id>", "<Int>", "<any>"]), json!(["q", -5, { "c": 1 }])),
            (json!("m${x}"), json!("m7")),
            (json!("${${y}} ${x}"), json!("7 7")),
            (json!("#${x}"), json!(7)),
            (
                json!(["<for i in 2..1>", { "n": "k${i}", "i": "#${i}" }]),
                json!([{ "n": "k2", "i": 2 }, { "n": "k1", "i": 1 }]),
            ),
        ];
        for (expected, found) in same {
            check(&expected, &found).unwrap_or_else(|error| panic!("{expected} {found}: {error:#}"));
        }
        let different = [
            (json!({ "a": 1, "b": 2 }), json!({ "b": 2, "a": 1 })),
            (json!({ "a": 1 }), json!({ "a": 1, "b": 2 })),
            (json!({ "a": 1, "b": 2 }), json!({ "a": 1 })),
            (json!(1), json!("1")),
            (json!(1), json!(1.0)),
            (json!(null), json!(0)),
            (json!([]), json!(null)),
            (json!([1]), json!([1, 2])),
            (json!([1, 2]), json!([1])),
            (json!("<Id>"), json!("qq")),
            (json!("<Int>"), json!("5")),
            (json!("<Int>"), json!(5.5)),
            (json!("#${x}"), json!("7")),
            (json!("${z}"), json!("")),
            (json!("<Micros>"), json!(0)),
            (json!("<Text>"), json!("now")),
        ];
        for (expected, found) in different {
            assert!(check(&expected, &found).is_err(), "{expected} {found}");
        }
    }

    #[test]
    fn what_is_kept_can_be_used() {
        let kept = check(
            &json!({ "a": "<Id as first>", "b": "<Int as n${x}>", "c": "${first}" }),
            &json!({ "a": "q", "b": 5, "c": "q" }),
        );
        assert_eq!(kept.unwrap()["n7"], "5");
    }

    #[test]
    fn what_one_thing_has_it_always_has() {
        let expected = json!(["<Int of ${x}>", "<Int of y>", "<Int of 7>"]);
        check(&expected, &json!([1, 2, 1])).unwrap();
        assert!(check(&expected, &json!([1, 1, 2])).is_err());
    }

    #[test]
    fn a_time_of_now_is_no_quarter_of_an_hour_off() {
        for minutes in [-15, 0, 15] {
            let time = Utc::now() + TimeDelta::minutes(minutes);
            let elsewhere = time.with_timezone(&chrono::FixedOffset::east_opt(8 * 3600).unwrap());
            for (shape, found) in
                [("<Micros>", json!(time.timestamp_micros())), ("<Text>", json!(elsewhere.to_rfc3339()))]
            {
                assert_eq!(check(&json!(shape), &found).is_ok(), minutes == 0, "{found}");
            }
        }
    }
}
