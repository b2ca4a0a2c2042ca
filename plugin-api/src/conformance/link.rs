//! A host that is as bare as can be: frame by frame, so that a check can also break the rules.

use super::{Pipe, Subject};
use crate::codec::Encoding;
use crate::error::{Error, ErrorCode};
use crate::frame::{FLAG_STREAM, Frame, Kind};
use crate::hello::{Config, Hello, Limits};
use crate::peer::unsupported;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// Why a check did not pass.
pub(super) enum Verdict {
    Fail(String),
    Skip(String),
}

impl From<String> for Verdict {
    fn from(detail: String) -> Self {
        Self::Fail(detail)
    }
}

impl From<&str> for Verdict {
    fn from(detail: &str) -> Self {
        Self::Fail(detail.to_owned())
    }
}

impl From<Error> for Verdict {
    fn from(error: Error) -> Self {
        Self::Fail(error.to_string())
    }
}

pub(super) type Finding<T = ()> = Result<T, Verdict>;

/// How a call was answered.
#[derive(Debug)]
pub(super) enum Answer {
    Reply(Bytes),
    Error(Error),
}

impl Answer {
    pub(super) fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Reply(_) => None,
            Self::Error(error) => Some(&error.code),
        }
    }
}

/// What somebody is told who expected another answer.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(_) => f.write_str("with a reply"),
            Self::Error(error) => write!(f, "with the error {error:?}", error = error.to_string()),
        }
    }
}

/// An instance under test.
pub(super) struct Link {
    subject: Subject,
    pub(super) pipe: Pipe,
    pub(super) encoding: Encoding,
    pub(super) hello: Hello,
    next_id: u64,
    /// Calls that were made and not answered.
    open: BTreeSet<u64>,
    /// Answers nobody looked at yet.
    answers: BTreeMap<u64, Answer>,
    pub(super) goodbye: bool,
}

impl Link {
    /// Opens an instance and greets it.
    pub(super) async fn open(subject: &Subject) -> Finding<Self> {
        let mut link = Self::connect(subject).await?;
        match link.greet(subject.config.clone()).await? {
            Ok(()) => Ok(link),
            Err(error) => Err(format!("the instance does not open: {error}").into()),
        }
    }

    /// Opens an instance, before hello.
    pub(super) async fn connect(subject: &Subject) -> Finding<Self> {
        let pipe = (subject.open)().await.map_err(|reason| format!("cannot be opened: {reason}"))?;
        Ok(Self {
            subject: subject.clone(),
            pipe,
            encoding: Encoding::Json,
            hello: Hello::default(),
            next_id: 1,
            open: BTreeSet::new(),
            answers: BTreeMap::new(),
            goodbye: false,
        })
    }

    /// The host's hello.
    pub(super) fn hello_frame(&self, config: serde_json::Value) -> Finding<Frame> {
        let hello = Hello {
            name: "conformance".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            limits: Limits::default(),
            instance: "conformance".into(),
            config: Config(config),
            texts: self.subject.texts.clone(),
            ..Hello::default()
        };
        let payload = Encoding::Json.encode(&hello)?;
        Ok(Frame { flags: Encoding::Json.flags(), payload, ..Frame::bare(Kind::Hello, 0) })
    }

    /// Says hello and takes the answer: hello, or the error of an instance that cannot be opened.
    pub(super) async fn greet(&mut self, config: serde_json::Value) -> Finding<Result<(), Error>> {
        (self.pipe.post)(self.hello_frame(config)?);
        self.greeted().await
    }

    /// Takes the answer to hello.
    pub(super) async fn greeted(&mut self) -> Finding<Result<(), Error>> {
        let deadline = Instant::now() + self.subject.timeout;
        loop {
            let frame = self.frame(deadline, "hello was not answered").await?;
            match frame.kind {
                Kind::Hello => {
                    let spoken = Encoding::of(frame.flags);
                    self.hello = spoken.decode(&frame.payload)?;
                    self.encoding = self.subject.encoding.unwrap_or(spoken);
                    if (spoken, self.encoding) == (Encoding::Json, Encoding::MessagePack) {
                        return Err(Verdict::Skip("it speaks JSON".into()));
                    }
                    return Ok(Ok(()));
                }
                Kind::Error if frame.id == 0 => return Ok(Err(Encoding::of(frame.flags).decode(&frame.payload)?)),
                _ => self.take(frame)?,
            }
        }
    }

    async fn frame(&mut self, deadline: Instant, otherwise: &str) -> Finding<Frame> {
        match timeout_at(deadline, self.pipe.frames.recv()).await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(format!("{otherwise}: the plugin is gone").into()),
            Err(_) => Err(format!("{otherwise} within {:?}", self.subject.timeout).into()),
        }
    }

    /// A frame that is not waited for.
    fn take(&mut self, frame: Frame) -> Finding {
        match frame.kind {
            Kind::Call => {
                let encoding = Encoding::of(frame.flags);
                let payload = encoding.encode(&unsupported(&frame.op))?;
                let flags = encoding.flags();
                (self.pipe.post)(Frame { flags, payload, ..Frame::bare(Kind::Error, frame.id) });
            }
            Kind::Reply | Kind::Error => {
                if !self.open.remove(&frame.id) {
                    return Err(format!("call {} was answered twice, or never made", frame.id).into());
                }
                let (asked, answered) = (self.encoding, Encoding::of(frame.flags));
                if asked != answered {
                    return Err(format!("it was asked in {asked:?} and answered in {answered:?}").into());
                }
                let answer = match frame.kind {
                    Kind::Reply => Answer::Reply(frame.payload),
                    _ => Answer::Error(answered.decode(&frame.payload)?),
                };
                self.answers.insert(frame.id, answer);
            }
            Kind::Goodbye => self.goodbye = true,
            Kind::Hello => return Err("the plugin said hello twice".into()),
            _ => {}
        }
        Ok(())
    }

    /// A call frame with a new number; is not posted yet.
    pub(super) fn call_frame(&mut self, op: &'static str, payload: Bytes) -> Frame {
        let id = self.next_id;
        self.next_id += 1;
        self.open.insert(id);
        Frame { op: op.into(), flags: self.encoding.flags(), payload, ..Frame::bare(Kind::Call, id) }
    }

    /// Makes a call with an empty request; its number.
    pub(super) fn send(&mut self, op: &'static str) -> u64 {
        let frame = self.call_frame(op, Bytes::new());
        let id = frame.id;
        (self.pipe.post)(frame);
        id
    }

    /// Makes a call that takes items, with an empty request; its number.
    pub(super) fn send_stream(&mut self, op: &'static str) -> u64 {
        let mut frame = self.call_frame(op, Bytes::new());
        frame.flags |= FLAG_STREAM;
        let id = frame.id;
        (self.pipe.post)(frame);
        id
    }

    pub(super) fn post(&self, frame: Frame) {
        (self.pipe.post)(frame);
    }

    pub(super) fn cancel(&self, id: u64) {
        self.post(Frame::bare(Kind::Cancel, id));
    }

    /// The answer to a call.
    pub(super) async fn answer(&mut self, id: u64) -> Finding<Answer> {
        let deadline = Instant::now() + self.subject.timeout;
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return Ok(answer);
            }
            let frame = self.frame(deadline, "a call was not answered").await?;
            self.take(frame)?;
        }
    }

    /// Calls with a typed request and takes the answer.
    pub(super) async fn call(&mut self, op: &'static str, request: &impl Serialize) -> Finding<Answer> {
        let payload = self.encoding.encode(request)?;
        let frame = self.call_frame(op, payload);
        let id = frame.id;
        self.post(frame);
        self.answer(id).await
    }

    /// Calls and takes the typed reply.
    pub(super) async fn reply<T: DeserializeOwned>(&mut self, op: &'static str) -> Finding<T> {
        let id = self.send(op);
        match self.answer(id).await? {
            Answer::Reply(payload) => Ok(self.encoding.decode(&payload)?),
            Answer::Error(error) => Err(format!("{op} failed: {error}").into()),
        }
    }

    /// Whether the instance still answers.
    pub(super) async fn lives(&mut self, after: &str) -> Finding {
        match self.reply::<crate::ops::Description>("describe").await {
            Ok(_) => Ok(()),
            Err(Verdict::Fail(reason) | Verdict::Skip(reason)) => Err(format!("after {after}: {reason}").into()),
        }
    }

    /// Takes frames until the plugin says goodbye.
    pub(super) async fn until_goodbye(&mut self) -> Finding {
        let deadline = Instant::now() + self.subject.timeout;
        while !self.goodbye {
            let frame = self.frame(deadline, "goodbye was not answered").await?;
            self.take(frame)?;
        }
        Ok(())
    }

    /// Closes the instance, and makes sure that it posts nothing afterwards.
    pub(super) async fn close(self) -> Finding {
        let Self { subject, pipe: Pipe { mut frames, close, .. }, .. } = self;
        let deadline = Instant::now() + subject.timeout;
        match timeout_at(deadline, close()).await {
            Ok(closed) => closed?,
            Err(_) => return Err(format!("close did not return within {:?}", subject.timeout).into()),
        }
        // What was posted before close returned is in the queue already; the queue ends when the carrier is gone.
        while frames.try_recv().is_ok() {}
        tokio::task::yield_now().await;
        match frames.try_recv() {
            Ok(frame) => Err(format!("{:?} was posted after close", frame.kind).into()),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn counted(&self, frame: Frame) -> Option<Arc<std::sync::atomic::AtomicU32>> {
        self.pipe.post_counted.as_ref().map(|post| post(frame))
    }
}
