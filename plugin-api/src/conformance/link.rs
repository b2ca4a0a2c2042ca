//! A host that is as bare as can be: frame by frame, so that a check can also break the rules.

use super::{MOST_WAITING, Pipe, Subject};
use crate::codec::Encoding;
use crate::error::{Error, ErrorCode};
use crate::frame::{FLAG_STREAM, Frame, Kind};
use crate::hello::{Config, Credit, Hello, Limits};
use crate::ops::{Describe, Description, Op};
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
    /// Something that was waited for did not happen in time.
    Late(String),
    /// There is no open instance to look at.
    Shut(String),
    Skip(String),
}

impl Verdict {
    pub(super) fn after(self, what: &str) -> Self {
        let told = |reason: String| format!("after {what}: {reason}");
        match self {
            Self::Late(reason) => Self::Late(told(reason)),
            Self::Fail(reason) | Self::Shut(reason) | Self::Skip(reason) => Self::Fail(told(reason)),
        }
    }
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
    /// What the host bears, as its hello says.
    limits: Limits,
    next_id: u64,
    /// Calls that were made and not answered; of a stream the items that may still come.
    open: BTreeMap<u64, Option<u32>>,
    /// Answers nobody looked at yet.
    answers: BTreeMap<u64, Answer>,
    /// Numbers of the plugin's own calls, all of them.
    numbers: BTreeSet<u64>,
    /// Answers to those that are in flight. They are sent when nothing more comes at once: so it is seen how many there are.
    held: BTreeMap<u64, Frame>,
    pub(super) goodbye: bool,
}

impl Link {
    /// Opens an instance and greets it.
    pub(super) async fn open(subject: &Subject) -> Finding<Self> {
        Self::open_within(subject, Limits::default()).await
    }

    /// Opens an instance and greets it as a host that bears this.
    pub(super) async fn open_within(subject: &Subject, limits: Limits) -> Finding<Self> {
        let mut link = Self::connect(subject).await?;
        link.limits = limits;
        match link.greet(subject.config.clone()).await? {
            Ok(()) => Ok(link),
            Err(error) => Err(Verdict::Shut(format!("the instance does not open: {error}"))),
        }
    }

    /// Opens an instance, before hello.
    pub(super) async fn connect(subject: &Subject) -> Finding<Self> {
        let pipe = match timeout_at(Instant::now() + subject.timeout, (subject.open)()).await {
            Ok(pipe) => pipe.map_err(|reason| Verdict::Shut(format!("cannot be opened: {reason}")))?,
            Err(_) => return Err(Verdict::Late(format!("it was not open within {:?}", subject.timeout))),
        };
        Ok(Self {
            subject: subject.clone(),
            pipe,
            encoding: Encoding::Json,
            hello: Hello::default(),
            limits: Limits::default(),
            next_id: 1,
            open: BTreeMap::new(),
            answers: BTreeMap::new(),
            numbers: BTreeSet::new(),
            held: BTreeMap::new(),
            goodbye: false,
        })
    }

    /// The host's hello.
    pub(super) fn hello_frame(&self, config: serde_json::Value) -> Finding<Frame> {
        let hello = Hello {
            name: "conformance".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            limits: self.limits,
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
        let within = self.subject.timeout;
        let late = || Verdict::Late(format!("{otherwise} within {within:?}"));
        if let Ok(frame) = self.pipe.frames.try_recv() {
            // One that never stops talking says nothing either.
            return if Instant::now() < deadline { Ok(frame) } else { Err(late()) };
        }
        std::mem::take(&mut self.held).into_values().for_each(&self.pipe.post);
        match timeout_at(deadline, self.pipe.frames.recv()).await {
            Ok(Some(frame)) => Ok(frame),
            // How it ended its carrier knows.
            Ok(None) => match self.shut().await {
                Err(Verdict::Fail(reason)) => Err(format!("{otherwise}: {reason}").into()),
                _ => Err(format!("{otherwise}: the plugin is gone").into()),
            },
            Err(_) => Err(late()),
        }
    }

    /// Looks at a frame, whether it is waited for or not.
    fn take(&mut self, frame: Frame) -> Finding {
        if frame.size() > u64::from(self.limits.max_frame) {
            let (kind, size, most) = (frame.kind, frame.size(), self.limits.max_frame);
            return Err(format!("it sent a frame of {size} bytes ({kind:?}), the host takes {most}").into());
        }
        match frame.kind {
            Kind::Call => self.take_call(&frame)?,
            Kind::Cancel => drop(self.held.remove(&frame.id)),
            Kind::Item => self.take_item(&frame)?,
            Kind::Reply | Kind::Error => {
                if self.open.remove(&frame.id).is_none() {
                    return Err(format!("call {} was answered twice, or never made", frame.id).into());
                }
                let answered = self.answered_as_asked(&frame)?;
                let answer = match frame.kind {
                    Kind::Reply => Answer::Reply(frame.payload),
                    _ => Answer::Error(answered.decode(&frame.payload)?),
                };
                self.answers.insert(frame.id, answer);
            }
            Kind::Goodbye if self.goodbye => return Err("the plugin said goodbye twice".into()),
            Kind::Goodbye => self.goodbye = true,
            Kind::Hello => return Err("the plugin said hello twice".into()),
            Kind::Credit | Kind::Notify | Kind::Unknown(_) => {}
        }
        Ok(())
    }

    /// A call of the plugin. It is answered later, and that nothing is known here.
    fn take_call(&mut self, frame: &Frame) -> Finding {
        let (id, op) = (frame.id, &frame.op);
        if self.goodbye {
            return Err(format!("it called {op} after its goodbye").into());
        }
        if id == 0 || !self.numbers.insert(id) {
            return Err(format!("it called {op} under the number {id}, which is not a new one").into());
        }
        let encoding = Encoding::of(frame.flags);
        let (flags, payload) = (encoding.flags(), encoding.encode(&unsupported(op))?);
        self.held.insert(id, Frame { flags, payload, ..Frame::bare(Kind::Error, id) });
        let (calls, most) = (self.held.len(), self.limits.max_calls);
        if calls > most as usize {
            return Err(format!("it has {calls} calls in flight, the host takes {most}").into());
        }
        Ok(())
    }

    fn take_item(&mut self, frame: &Frame) -> Finding {
        let id = frame.id;
        self.answered_as_asked(frame)?;
        match self.open.get_mut(&id) {
            None => Err(format!("an item came for call {id}, which was answered, or never made").into()),
            Some(None) => Err(format!("an item came for call {id}, which takes none").into()),
            Some(Some(0)) => Err(format!("an item came for call {id} that nobody has granted").into()),
            Some(Some(credit)) => {
                *credit -= 1;
                Ok(())
            }
        }
    }

    fn answered_as_asked(&self, frame: &Frame) -> Finding<Encoding> {
        let (asked, answered) = (self.encoding, Encoding::of(frame.flags));
        if asked != answered {
            return Err(format!("it was asked in {asked:?} and answered in {answered:?}").into());
        }
        Ok(answered)
    }

    /// A call frame with a new number; is not posted yet.
    pub(super) fn call_frame(&mut self, op: &'static str, payload: Bytes) -> Frame {
        let id = self.next_id;
        self.next_id += 1;
        self.open.insert(id, None);
        Frame { op: op.into(), flags: self.encoding.flags(), payload, ..Frame::bare(Kind::Call, id) }
    }

    /// Makes a call with an empty request; its number.
    pub(super) fn send(&mut self, op: &'static str) -> u64 {
        let frame = self.call_frame(op, Bytes::new());
        let id = frame.id;
        (self.pipe.post)(frame);
        id
    }

    /// Makes a call that takes items; its number.
    pub(super) fn send_stream(&mut self, op: &'static str, payload: Bytes) -> u64 {
        let mut frame = self.call_frame(op, payload);
        frame.flags |= FLAG_STREAM;
        let id = frame.id;
        self.open.insert(id, Some(self.limits.credit));
        (self.pipe.post)(frame);
        id
    }

    pub(super) fn post(&self, frame: Frame) {
        (self.pipe.post)(frame);
    }

    pub(super) fn cancel(&self, id: u64) {
        self.post(Frame::bare(Kind::Cancel, id));
    }

    /// The answer to a call. The items before it are taken one by one.
    pub(super) async fn answer(&mut self, id: u64) -> Finding<Answer> {
        let deadline = Instant::now() + self.subject.timeout;
        loop {
            if let Some(answer) = self.answers.remove(&id) {
                return Ok(answer);
            }
            if let Some(Some(credit)) = self.open.get_mut(&id)
                && *credit == 0
            {
                *credit = 1;
                let payload = self.encoding.encode(&Credit { items: 1 })?;
                self.post(Frame { flags: self.encoding.flags(), payload, ..Frame::bare(Kind::Credit, id) });
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
        let described = self.reply::<Description>(Describe::NAME).await;
        described.map(drop).map_err(|verdict| verdict.after(after))
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

    /// Has the carrier close the instance, once.
    async fn shut(&mut self) -> Finding {
        let close = std::mem::replace(&mut self.pipe.close, Box::new(|| Box::pin(std::future::ready(Ok(())))));
        let within = self.subject.timeout;
        match timeout_at(Instant::now() + within, close()).await {
            Ok(closed) => Ok(closed?),
            Err(_) => Err(Verdict::Late(format!("close did not return within {within:?}"))),
        }
    }

    /// Closes the instance, and makes sure that what it still posted is in order, and that it posts nothing afterwards.
    pub(super) async fn close(mut self) -> Finding {
        self.shut().await?;
        // What was posted before close returned is in the queue already; the queue ends when the carrier is gone.
        for _ in 0..MOST_WAITING {
            let Ok(frame) = self.pipe.frames.try_recv() else { break };
            self.take(frame)?;
        }
        tokio::task::yield_now().await;
        match self.pipe.frames.try_recv() {
            Ok(frame) => Err(format!("{:?} was posted after close", frame.kind).into()),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn counted(&self, frame: Frame) -> Option<Arc<std::sync::atomic::AtomicU32>> {
        self.pipe.post_counted.as_ref().map(|post| post(frame))
    }
}
