//! The filters of Meilisearch, as much of them as the engine writes.

use serde_json::Value;

#[derive(Debug)]
pub enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Exists(String),
    Among(String, Vec<String>),
    Compared(String, String, f64),
}

impl Filter {
    pub fn read(text: &str) -> Self {
        let mut reader = Reader { words: words(text), next: 0 };
        let filter = reader.any();
        assert_eq!(reader.next, reader.words.len(), "{text}");
        filter
    }

    pub fn admits(&self, document: &Value) -> bool {
        match self {
            Self::All(filters) => filters.iter().all(|filter| filter.admits(document)),
            Self::Any(filters) => filters.iter().any(|filter| filter.admits(document)),
            Self::Not(filter) => !filter.admits(document),
            Self::Exists(field) => document.get(field).is_some(),
            Self::Among(field, values) => {
                let present = document.get(field);
                let list: Vec<&Value> = present
                    .and_then(Value::as_array)
                    .map_or_else(|| present.into_iter().collect(), |all| all.iter().collect());
                let has = |value: &Value| match value {
                    Value::String(text) => values.contains(text),
                    other => values.contains(&other.to_string()),
                };
                list.into_iter().any(has)
            }
            Self::Compared(field, operator, value) => {
                // Numbers are 64-bit floats there.
                document.get(field).and_then(Value::as_f64).is_some_and(|present| match operator.as_str() {
                    "<" => present < *value,
                    "<=" => present <= *value,
                    ">" => present > *value,
                    _ => present >= *value,
                })
            }
        }
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '[' | ']' | ',' => 1,
            '\'' => rest[1..].find('\'').expect("a quote ends") + 2,
            _ => rest.find([' ', ')', '(', ',', ']', '[']).unwrap_or(rest.len()),
        };
        words.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    words
}

struct Reader {
    words: Vec<String>,
    next: usize,
}

impl Reader {
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.get(self.next).is_some_and(|next| next == word);
        self.next += usize::from(is_next);
        is_next
    }

    fn word(&mut self) -> String {
        self.next += 1;
        self.words[self.next - 1].clone()
    }

    fn any(&mut self) -> Filter {
        let mut filters = vec![self.all()];
        while self.take("OR") {
            filters.push(self.all());
        }
        Filter::Any(filters)
    }

    fn all(&mut self) -> Filter {
        let mut filters = vec![self.one()];
        while self.take("AND") {
            filters.push(self.one());
        }
        Filter::All(filters)
    }

    fn one(&mut self) -> Filter {
        if self.take("NOT") {
            return Filter::Not(Box::new(self.one()));
        }
        if self.take("(") {
            let filter = self.any();
            assert!(self.take(")"));
            return filter;
        }
        let field = self.word();
        if self.take("NOT") {
            assert!(self.take("EXISTS"));
            return Filter::Not(Box::new(Filter::Exists(field)));
        }
        if self.take("IN") {
            assert!(self.take("["));
            let mut values = Vec::new();
            while !self.take("]") {
                values.push(self.word().trim_matches('\'').to_owned());
                self.take(",");
            }
            return Filter::Among(field, values);
        }
        let (operator, value) = (self.word(), self.word());
        match operator.as_str() {
            "=" => Filter::Among(field, vec![value.trim_matches('\'').to_owned()]),
            _ => Filter::Compared(field, operator, value.parse().expect("a number")),
        }
    }
}
