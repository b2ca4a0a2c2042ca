//! Plugins that break a rule: a sound one, with somebody between it and the kit.

use crate::{configured, descriptor};
use std::sync::Arc;
use stele_plugin_api::conformance::{MOST_WAITING, Pipe, Subject};
use stele_plugin_api::frame::Frame;
use tokio::sync::mpsc;

/// What becomes of a frame.
type Becomes = dyn Fn(Frame) -> Vec<Frame> + Send + Sync;
/// What is said besides when a frame comes.
type Besides = dyn Fn(&Frame) -> Vec<Frame> + Send + Sync;

/// A sound plugin within another one, which breaks the rules: what the one inside is given of a frame, what is said of what it says, and
/// what is said besides when a frame comes.
#[derive(Clone)]
pub struct Around {
    given: Arc<Becomes>,
    said: Arc<Becomes>,
    besides: Arc<Besides>,
}

impl Default for Around {
    fn default() -> Self {
        let same = |frame: Frame| vec![frame];
        Self { given: Arc::new(same), said: Arc::new(same), besides: Arc::new(|_| Vec::new()) }
    }
}

impl Around {
    pub fn open(&self) -> Result<Pipe, String> {
        let Self { given, said, besides } = self.clone();
        let (sender, frames) = mpsc::channel(MOST_WAITING);
        let saying = sender.clone();
        let opened =
            descriptor().open(move |frame| said(frame).into_iter().for_each(|frame| drop(saying.try_send(frame))));
        let plugin = Arc::new(opened.map_err(|error| error.to_string())?);
        let posting = plugin.clone();
        Ok(Pipe {
            post: Box::new(move |frame| {
                besides(&frame).into_iter().for_each(|frame| drop(sender.try_send(frame)));
                given(frame).into_iter().for_each(|frame| posting.post(frame));
            }),
            post_counted: None,
            frames,
            close: Box::new(move || {
                let closed = tokio::task::spawn_blocking(move || plugin.close());
                Box::pin(async move { closed.await.map_err(|error| error.to_string()) })
            }),
        })
    }

    fn subject(self) -> Subject {
        opened(move || self.open())
    }
}

pub fn opened(open: impl Fn() -> Result<Pipe, String> + Send + Sync + 'static) -> Subject {
    configured(Subject::new(move || Box::pin(std::future::ready(open()))))
}

pub fn given(change: impl Fn(Frame) -> Vec<Frame> + Send + Sync + 'static) -> Subject {
    Around { given: Arc::new(change), ..Around::default() }.subject()
}

pub fn said(change: impl Fn(Frame) -> Vec<Frame> + Send + Sync + 'static) -> Subject {
    Around { said: Arc::new(change), ..Around::default() }.subject()
}

pub fn besides(more: impl Fn(&Frame) -> Vec<Frame> + Send + Sync + 'static) -> Subject {
    Around { besides: Arc::new(more), ..Around::default() }.subject()
}
