//! What the daemon does for a plugin: the other direction of the boundary.

use crate::carrier::Link;
use bytes::Bytes;
use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Weak},
};
use stele_plugin_api::{
    Encoding, Error,
    notify::{self, LogRecord, MetricRecord},
    ops::Op,
    peer::{self, BoxFuture, Handler, Notification, Outgoing, unsupported},
    typed::{self, Parts},
};

/// The daemon, as a plugin sees it. Implemented once, for all instances.
#[async_trait::async_trait]
pub trait Services: Send + Sync + 'static {
    /// Answers a call of an instance's plugin. The work is dropped when the plugin cancels the call or is gone.
    ///
    /// # Errors
    ///
    /// What the plugin is to know: an [`Error`] crosses the boundary as it is.
    async fn call(&self, instance: &str, call: Incoming) -> Result<Outgoing, Error>;

    /// Takes a line of a plugin's log. Must return at once.
    fn log(&self, instance: &str, record: LogRecord);

    /// Takes a measurement of a plugin. Must return at once.
    fn metric(&self, instance: &str, metric: MetricRecord);
}

/// A call of a plugin.
#[derive(Clone)]
pub struct Incoming {
    /// Name of the operation.
    pub op: Cow<'static, str>,
    /// How the payload is written.
    pub encoding: Encoding,
    /// Encoded request.
    pub payload: Bytes,
    /// Bulk bytes.
    pub body: Bytes,
}

impl Incoming {
    /// The request of a call of `O`, its body included.
    ///
    /// # Errors
    ///
    /// `invalid`, when the payload is not one.
    pub fn decode<O: Op>(&self) -> Result<O::Request, Error> {
        let parts = Parts { payload: self.payload.clone(), body: self.body.clone() };
        typed::decode_request::<O>(self.encoding, parts)
    }

    /// The answer to give when the operation is not known.
    pub fn unsupported(&self) -> Error {
        unsupported(&self.op)
    }
}

/// Shows no contents.
impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("op", &self.op).finish_non_exhaustive()
    }
}

/// Connects the session of one instance to the services.
pub(crate) struct ServiceHandler {
    pub(crate) instance: Arc<str>,
    pub(crate) services: Arc<dyn Services>,
    /// Where the answers go. Weak, because it holds the session, and the session this.
    pub(crate) link: Weak<dyn Link>,
}

impl Handler for ServiceHandler {
    fn call(&self, call: peer::Incoming) -> BoxFuture<Result<Outgoing, Error>> {
        let (instance, services, link) = (self.instance.clone(), self.services.clone(), self.link.clone());
        let call = Incoming { op: call.op, encoding: call.encoding, payload: call.payload, body: call.body };
        Box::pin(async move {
            // Who leaves its answers unread is given no more of them: the call waits, and takes one of those it may have at once.
            if let Some(link) = link.upgrade() {
                link.room().await;
            }
            services.call(&instance, call).await
        })
    }

    fn notify(&self, notification: Notification) {
        // What cannot be read is dropped: nobody waits for an answer.
        match &*notification.op {
            notify::LOG => {
                if let Ok(record) = notification.decode() {
                    self.services.log(&self.instance, record);
                }
            }
            notify::METRIC => {
                if let Ok(metric) = notification.decode() {
                    self.services.metric(&self.instance, metric);
                }
            }
            _ => {}
        }
    }
}
