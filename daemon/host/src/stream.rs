//! The items of a call, as the daemon takes them.

use crate::connection::InUse;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use std::fmt;
use stele_plugin_api::{
    Error,
    peer::{self, BoxFuture},
};

/// The items of a call, in order. Taking them is what lets the plugin send more; dropping the stream cancels the call.
pub struct ItemStream<I>(State<I>);

/// A stream that was begun, and what keeps its plugin from being retired.
type Begun<I> = (peer::ItemStream<I>, InUse);

enum State<I> {
    Starting(BoxFuture<Result<Begun<I>, Error>>),
    Running(Begun<I>),
    Over,
}

impl<I: DeserializeOwned + Send> ItemStream<I> {
    pub(crate) fn starting(start: impl Future<Output = Result<Begun<I>, Error>> + Send + 'static) -> Self {
        Self(State::Starting(Box::pin(start)))
    }

    /// The next item and its bytes; `None` after the last one. After an error nothing more comes. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Result<(I, Bytes), Error>> {
        loop {
            let next = match &mut self.0 {
                State::Starting(start) => match start.await {
                    Ok(begun) => {
                        self.0 = State::Running(begun);
                        continue;
                    }
                    Err(error) => Some(Err(error)),
                },
                State::Running((stream, _)) => stream.next().await,
                State::Over => return None,
            };
            if !matches!(next, Some(Ok(_))) {
                self.0 = State::Over;
            }
            return next;
        }
    }
}

impl<I> fmt::Debug for ItemStream<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.0 {
            State::Starting(_) => "starting",
            State::Running(_) => "running",
            State::Over => "over",
        };
        f.debug_tuple("ItemStream").field(&state).finish()
    }
}
