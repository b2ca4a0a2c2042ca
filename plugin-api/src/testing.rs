//! A host for unit tests of plugins: no daemon, no library, no process.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use stele_plugin_api::{ErrorCode, ops, testing::MockHost};
//!
//! let mock = MockHost::new().on::<ops::StateGet>(|request| {
//!     assert_eq!(request.key, "cursor");
//!     Ok(ops::StateValue { value: Some("7".into()) })
//! });
//! let host = mock.host(); // what `Plugin::open` is given
//! let reply = host.call::<ops::StateGet>(ops::StateKey { key: "cursor".into() }).await.unwrap();
//! assert_eq!(reply.value.unwrap(), "7");
//! assert_eq!(mock.requests::<ops::StateGet>().len(), 1);
//!
//! let error = host.call::<ops::HttpFetch>(ops::FetchRequest::default()).await.unwrap_err();
//! assert_eq!(error.code, ErrorCode::Unsupported);
//! # });
//! ```
//!
//! Requests and replies pass through the real encoding, so that what a test sees is what a daemon would.

use crate::codec::Encoding;
use crate::error::Error;
use crate::notify::{LogRecord, MetricRecord};
use crate::ops::Op;
use crate::peer::{BoxFuture, ItemSink, unsupported};
use crate::sdk::Host;
use crate::typed::{self, Parts};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Answer = Arc<dyn Fn(Parts) -> BoxFuture<Result<Parts, Error>> + Send + Sync>;

const ENCODING: Encoding = Encoding::MessagePack;

/// A host that answers as a test tells it, and records what it is asked and told. Clones share everything.
#[derive(Clone, Default)]
pub struct MockHost(Arc<Mutex<Mock>>);

#[derive(Default)]
struct Mock {
    answers: HashMap<&'static str, Answer>,
    calls: Vec<(&'static str, Parts)>,
    logs: Vec<LogRecord>,
    metrics: Vec<MetricRecord>,
}

impl MockHost {
    /// A host that answers every call `unsupported`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers an operation from now on.
    #[must_use]
    pub fn on<O: Op>(self, answer: impl Fn(O::Request) -> Result<O::Reply, Error> + Send + Sync + 'static) -> Self {
        self.on_async::<O, _>(move |request| std::future::ready(answer(request)))
    }

    /// Answers an operation from now on, taking its time.
    #[must_use]
    pub fn on_async<O: Op, F>(self, answer: impl Fn(O::Request) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<O::Reply, Error>> + Send + 'static,
    {
        let answer: Answer = Arc::new(move |parts| match typed::decode_request::<O>(ENCODING, parts) {
            Ok(request) => {
                let reply = answer(request);
                Box::pin(async move { typed::encode_reply::<O>(ENCODING, reply.await?) })
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        });
        self.lock().answers.insert(O::NAME, answer);
        self
    }

    /// The host to give to a plugin.
    pub fn host(&self) -> Host {
        Host::mock(self.clone())
    }

    /// The requests of one operation so far, in order.
    ///
    /// # Panics
    ///
    /// When a recorded request cannot be read back, which would be a fault of its type.
    pub fn requests<O: Op>(&self) -> Vec<O::Request> {
        let calls: Vec<Parts> =
            self.lock().calls.iter().filter(|(op, _)| *op == O::NAME).map(|(_, parts)| parts.clone()).collect();
        let read = |parts| typed::decode_request::<O>(ENCODING, parts).expect("a recorded request can be read back");
        calls.into_iter().map(read).collect()
    }

    /// Names of the operations called so far, in order.
    pub fn calls(&self) -> Vec<&'static str> {
        self.lock().calls.iter().map(|(op, _)| *op).collect()
    }

    /// What was logged so far.
    pub fn logs(&self) -> Vec<LogRecord> {
        self.lock().logs.clone()
    }

    /// What was measured so far.
    pub fn metrics(&self) -> Vec<MetricRecord> {
        self.lock().metrics.clone()
    }

    pub(crate) async fn call<O: Op>(&self, request: O::Request) -> Result<O::Reply, Error> {
        let parts = typed::encode_request::<O>(ENCODING, request)?;
        let answer = {
            let mut mock = self.lock();
            mock.calls.push((O::NAME, parts.clone()));
            mock.answers.get(O::NAME).cloned()
        };
        let answer = answer.ok_or_else(|| unsupported(O::NAME))?;
        typed::decode_reply::<O>(ENCODING, answer(parts).await?)
    }

    pub(crate) fn keep_log(&self, record: LogRecord) {
        self.lock().logs.push(record);
    }

    pub(crate) fn keep_metric(&self, record: MetricRecord) {
        self.lock().metrics.push(record);
    }

    fn lock(&self) -> MutexGuard<'_, Mock> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MockHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockHost").field("calls", &self.calls()).finish_non_exhaustive()
    }
}

/// A sink that keeps what is sent to it, and the means to look.
pub fn sink<I: Serialize + DeserializeOwned>() -> (ItemSink<I>, Kept<I>) {
    let kept = Arc::default();
    (ItemSink::keeping(Arc::clone(&kept)), Kept { kept, item: PhantomData })
}

/// What a [`sink`] was sent.
#[derive(Debug)]
pub struct Kept<I> {
    kept: Arc<Mutex<Vec<Parts>>>,
    item: PhantomData<fn() -> I>,
}

impl<I: DeserializeOwned> Kept<I> {
    /// The items and their bytes so far, in order.
    ///
    /// # Panics
    ///
    /// When an item cannot be read back, which would be a fault of its type.
    pub fn items(&self) -> Vec<(I, Bytes)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = |parts: Parts| (ENCODING.decode(&parts.payload).expect("an item can be read back"), parts.body);
        kept.into_iter().map(read).collect()
    }
}
