//! What an index says of itself, in documents beside those of messages.
//!
//! | document | what it says | written |
//! |---|---|---|
//! | `watermark` | [whose](Owner) it is, and in which format | with every task, so that whatever comes of one is known to be ours |
//! | `life` | which [life](Life) it is in | when that begins, and never by feeding |
//! | `mark-` and a life | [how far](Mark) that life has come | in the task of the rows it covers |
//! | `wish` | that a life is to be [replaced](Wish) | by whoever wishes for it |
//!
//! Documents of messages have the name of their life in their ids. So a daemon that stood still, and writes to what has another life
//! by now, changes nothing there: neither a row nor a watermark of that life is touched, and nobody asks for those of its own.

use super::document::FORMAT;
use crate::error::IndexError;
use crate::index::Watermark;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use stele_archive::Rev;

/// Whose the index is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    id: String,
    pub format: u32,
    /// The archive that is indexed.
    #[serde(default)]
    pub archive: String,
}

impl Owner {
    /// Id of the document. Earlier versions had their watermark there, and so leave alone what has a later format.
    pub const ID: &'static str = "watermark";

    pub fn of(archive: &str) -> Self {
        Self { id: Self::ID.to_owned(), format: FORMAT, archive: archive.to_owned() }
    }

    pub fn line(&self) -> String {
        line(self)
    }
}

/// Which life the index is in: no two have the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    id: String,
    life: String,
}

impl Life {
    pub const ID: &'static str = "life";

    /// The line that says it.
    pub fn line(life: &str) -> String {
        line(&Self { id: Self::ID.to_owned(), life: life.to_owned() })
    }
}

/// A message the server refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Its id.
    pub message: i64,
    /// The day it would count for.
    pub day: Option<i64>,
}

/// How far a life has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    id: String,
    /// Empty: that of an index that is not there, which holds nothing.
    pub life: String,
    /// Its last revision.
    pub at: i64,
    /// The fingerprint, as text: it has 64 bits.
    mark: String,
    /// Messages taken in.
    pub documents: u64,
    /// Whether long texts are among them, which are several documents.
    pub long: bool,
    /// Those that were refused.
    pub parked: Vec<Parked>,
}

impl Mark {
    fn id_of(life: &str) -> String {
        format!("mark-{life}")
    }

    /// That of a life that begins.
    pub fn begin(life: String) -> Self {
        Self { id: Self::id_of(&life), life, mark: "0".to_owned(), ..Self::default() }
    }

    /// The same life, further on.
    pub fn moved(&self, to: Watermark, documents: u64) -> Self {
        Self { at: to.rev.0, mark: to.mark.to_string(), documents: self.documents + documents, ..self.clone() }
    }

    pub fn watermark(&self) -> Watermark {
        Watermark { rev: Rev(self.at), mark: self.mark.parse().unwrap_or_default() }
    }

    pub fn line(&self) -> String {
        line(self)
    }
}

/// That a life is to be replaced. It is void as soon as there is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    id: String,
    pub life: String,
    pub reason: String,
    /// Somebody asked for it and waits; else the index was found to be wrong, and this is tried until it is done.
    pub asked: bool,
    /// Why what was asked for was not done.
    pub declined: Option<String>,
}

impl Wish {
    pub const ID: &'static str = "wish";

    pub fn new(life: &str, reason: &str, asked: bool) -> Self {
        let (life, reason) = (life.to_owned(), reason.to_owned());
        Self { id: Self::ID.to_owned(), life, reason, asked, declined: None }
    }

    /// The same, which cannot be fulfilled.
    pub fn declined(self, reason: &str) -> Self {
        Self { declined: Some(reason.to_owned()), ..self }
    }

    pub fn line(&self) -> String {
        line(self)
    }
}

fn line(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("text and numbers")
}

/// What an index says of itself at one moment.
#[derive(Debug, Default)]
pub struct Signs {
    pub owner: Option<Owner>,
    pub life: Option<String>,
    /// That of its life, or of the one it was asked for.
    pub mark: Option<Mark>,
    pub wish: Option<Wish>,
}

impl Signs {
    /// The ids of the documents that are the signs, if it is in this life.
    pub fn ids(life: Option<&str>) -> Vec<String> {
        [Owner::ID, Life::ID, Wish::ID].map(str::to_owned).into_iter().chain(life.map(Mark::id_of)).collect()
    }

    /// Out of these documents, in whatever order. One that cannot be read says nothing.
    ///
    /// # Errors
    ///
    /// [`IndexError::Unavailable`] where a newer version made the index.
    pub fn read(uid: &str, documents: Vec<Value>) -> Result<Self, IndexError> {
        let format = documents.iter().find(|document| document["id"] == Owner::ID).map(|owner| &owner["format"]);
        // Another version may say something else there.
        if format.and_then(Value::as_u64).is_some_and(|format| format > u64::from(FORMAT)) {
            return Err(IndexError::unavailable(format!(
                "a newer stele made the index {uid:?}: this one cannot use it"
            )));
        }
        let mut signs = Self::default();
        for document in documents {
            match document["id"].as_str() {
                Some(Owner::ID) => signs.owner = serde_json::from_value(document).ok(),
                Some(Life::ID) => signs.life = serde_json::from_value::<Life>(document).ok().map(|life| life.life),
                Some(Wish::ID) => signs.wish = serde_json::from_value(document).ok(),
                _ => signs.mark = serde_json::from_value(document).ok(),
            }
        }
        Ok(signs)
    }
}
