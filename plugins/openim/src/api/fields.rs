//! The fields of a request, read as Go's JSON reads them: names whatever their case, `null` as if it were missing, and what is
//! of another type refused (reference/openim.md §1).

use crate::answer::Failure;
use crate::json;
use serde_json::{Map, Value};

/// The fields of an object.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    entries: Map<String, Value>,
    /// The names of what it is within, each with a dot behind.
    within: String,
}

impl Fields {
    /// The fields of a body.
    ///
    /// # Errors
    ///
    /// 1001 for what is no JSON object, nor `null`.
    pub fn of(body: &[u8]) -> Result<Self, Failure> {
        if body.is_empty() {
            return Err(Failure::args("the body is empty"));
        }
        match json::read(body) {
            Ok(Value::Object(entries)) => Ok(Self { entries, within: String::new() }),
            Ok(Value::Null) => Ok(Self::default()),
            Ok(_) => Err(Failure::args("the body has to be a JSON object")),
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                Err(Failure::args(format!("the body cannot be read as JSON at line {line}, column {column}")))
            }
        }
    }

    /// What a field has, unless that is nothing. Of several the last one counts.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let given = self.entries.iter().rev();
        given
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .find(|value| !value.is_null())
    }

    /// Whether a field is given; `null` is as if it were not.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// What is wrong with a field.
    pub fn wrong(&self, name: &str, wrong: &str) -> Failure {
        Failure::args(format!("{}{name} {wrong}", self.within))
    }

    /// A text; empty where it is missing.
    ///
    /// # Errors
    ///
    /// 1001 for what is none.
    pub fn text(&self, name: &str) -> Result<String, Failure> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(self.wrong(name, "has to be a string")),
        }
    }

    /// A text that is not empty.
    ///
    /// # Errors
    ///
    /// 1001 for what is none, and where it is missing or empty.
    pub fn needed(&self, name: &str) -> Result<String, Failure> {
        let text = self.text(name)?;
        if text.is_empty() { Err(self.wrong(name, "is missing or empty")) } else { Ok(text) }
    }

    /// A whole number; 0 where it is missing.
    ///
    /// # Errors
    ///
    /// 1001 for what is none, or too large.
    pub fn number<T: TryFrom<i64> + Default>(&self, name: &str) -> Result<T, Failure> {
        let Some(value) = self.get(name) else { return Ok(T::default()) };
        let number = value.as_i64().and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.wrong(name, &format!("has to be an int{}", size_of::<T>() * 8)))
    }

    /// Yes or no; no where it is missing.
    ///
    /// # Errors
    ///
    /// 1001 for what is neither.
    pub fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(name, "has to be true or false")),
        }
    }

    /// The fields of an object; none where it is missing.
    ///
    /// # Errors
    ///
    /// 1001 for what is none.
    pub fn object(&self, name: &str) -> Result<Self, Failure> {
        let within = format!("{}{name}.", self.within);
        match self.get(name) {
            None => Ok(Self { entries: Map::new(), within }),
            Some(Value::Object(entries)) => Ok(Self { entries: entries.clone(), within }),
            Some(_) => Err(self.wrong(name, "has to be an object")),
        }
    }

    /// The objects of a list; none where it is missing.
    ///
    /// # Errors
    ///
    /// 1001 for what is no list, or one of something else.
    pub fn objects(&self, name: &str) -> Result<Vec<Self>, Failure> {
        let objects = self.list(name)?.iter().enumerate().map(|(place, item)| {
            let within = format!("{}{name}[{place}].", self.within);
            let entries = item.as_object().ok_or_else(|| self.wrong(name, "has to be a list of objects"))?;
            Ok(Self { entries: entries.clone(), within })
        });
        objects.collect()
    }

    /// The texts of a list; none where it is missing.
    ///
    /// # Errors
    ///
    /// 1001 for what is no list, or one of something else.
    pub fn texts(&self, name: &str) -> Result<Vec<String>, Failure> {
        let text = |item: &Value| item.as_str().map(str::to_owned);
        let texts = self.list(name)?.iter().map(text).collect::<Option<Vec<_>>>();
        texts.ok_or_else(|| self.wrong(name, "has to be a list of strings"))
    }

    fn list(&self, name: &str) -> Result<&[Value], Failure> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(self.wrong(name, "has to be a list")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::of(body.as_bytes()).unwrap()
    }

    #[test]
    fn bodies_are_objects_or_null() {
        let check = |body: &str, wrong: &str| assert_eq!(Fields::of(body.as_bytes()).unwrap_err().dlt, wrong, "{body}");
        check("", "the body is empty");
        check("[]", "the body has to be a JSON object");
        check("\"{}\"", "the body has to be a JSON object");
        check("{", "the body cannot be read as JSON at line 1, column 1");
        check("{\"a\":\n1}x", "the body cannot be read as JSON at line 2, column 3");
        let deep = format!("{}1{}", "{\"a\":".repeat(1000), "}".repeat(1000));
        let wrong = Fields::of(deep.as_bytes()).unwrap_err().dlt;
        assert_eq!(wrong, "the body cannot be read as JSON at line 1, column 636");
        assert_eq!(Fields::of(b"{\"a\":\"\xff\\ud83d\"}").unwrap().text("a").unwrap(), "\u{fffd}\u{fffd}");
        for body in ["{}", "null", " { } "] {
            assert!(!fields(body).has("a"));
        }
    }

    #[test]
    fn names_are_read_whatever_their_case_and_the_last_one_counts() {
        let fields = fields(r#"{"SENDID":"a","sendid":"b","sendID":null,"n":null,"x":{"y":[{"Z":1}]}}"#);
        assert_eq!(fields.text("sendID").unwrap(), "b");
        assert_eq!((fields.has("n"), fields.number::<i32>("n").unwrap()), (false, 0));
        let inner = &fields.object("X").unwrap().objects("Y").unwrap()[0];
        assert_eq!(inner.number::<i64>("z").unwrap(), 1);
        assert_eq!(inner.text("z").unwrap_err().dlt, "X.Y[0].z has to be a string");
    }

    #[test]
    fn other_types_are_refused() {
        let all = fields(
            r#"{"s":"x","n":1,"f":1.0,"e":1e2,"big":2147483648,"huge":9223372036854775808,"b":true,"o":{},"l":[],"m":[1]}"#,
        );
        let number = |name| all.number::<i32>(name).map_err(|failure| failure.dlt);
        assert_eq!(number("n"), Ok(1));
        for name in ["s", "f", "e", "big", "huge", "b", "o", "l"] {
            assert_eq!(number(name), Err(format!("{name} has to be an int32")));
        }
        assert_eq!(all.number::<i64>("big").unwrap(), 2_147_483_648);
        assert_eq!(all.number::<i64>("huge").unwrap_err().dlt, "huge has to be an int64");
        assert!(
            all.text("n").is_err() && all.flag("s").is_err() && all.object("l").is_err() && all.texts("o").is_err()
        );
        assert!(all.texts("m").is_err() && all.objects("m").is_err());
        assert!(all.needed("nothing").is_err() && all.needed("s").is_ok());
        assert_eq!((all.texts("l").unwrap().len(), all.flag("b").unwrap()), (0, true));
    }
}
