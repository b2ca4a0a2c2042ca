//! What the kit of [`stele_plugin_api::conformance`] looks at: a plugin's file, over either carrier.

use crate::{
    carrier::{Exit, Link},
    child::ChildLink,
    file::FileRules,
    loader,
    spec::{Carrier, InstanceSpec, Limits},
};
use serde_json::Value;
use std::{path::Path, sync::Arc, time::Duration};
use stele_plugin_api::{
    conformance::{Pipe, Subject},
    frame::{Decoded, Frame},
    hello,
};
use tokio::sync::mpsc;

/// What a plugin's process may take to end.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// The plugin in the file `plugin`, for the kit: whether it keeps the rules of the boundary. `host_program` is what holds it, over
/// the child carrier.
///
/// A file that is no plugin fails every check, with the reason.
pub fn subject(plugin: &Path, carrier: Carrier, host_program: &Path) -> Subject {
    let spec = Arc::new(InstanceSpec {
        name: "conformance".to_owned(),
        plugin: plugin.to_owned(),
        // Whoever asks has said which file, and has it run as themselves.
        file: FileRules { allow_writable: true, ..FileRules::default() },
        carrier,
        config: Value::Null,
        texts: Vec::new(),
        node: None,
        host_program: host_program.to_owned(),
        // What the session would refuse, the kit wants to see.
        limits: Limits { max_frame_bytes: hello::Limits::MOST.max_frame, ..Limits::default() },
    });
    Subject::new(move || {
        let spec = spec.clone();
        Box::pin(async move {
            match spec.carrier {
                Carrier::Child => in_child(&spec).await,
                Carrier::InProcess => in_process(&spec),
            }
        })
    })
}

fn in_process(spec: &InstanceSpec) -> Result<Pipe, String> {
    let descriptor = loader::load(&spec.plugin, &spec.file).map_err(|error| error.to_string())?;
    Pipe::in_process(&descriptor).map_err(|error| error.to_string())
}

async fn in_child(spec: &InstanceSpec) -> Result<Pipe, String> {
    let (sender, frames) = mpsc::unbounded_channel();
    let deliver = Arc::new(move |decoded| {
        let frame = match decoded {
            Decoded::Frame(frame) => frame,
            Decoded::Oversized(head) => Frame { flags: head.flags, ..Frame::bare(head.kind, head.id) },
        };
        // The check that wanted it is over.
        let _ = sender.send(frame);
    });
    let link = ChildLink::start(spec, deliver).await.map_err(|error| error.to_string())?;
    let posting = link.clone();
    Ok(Pipe {
        post: Box::new(move |frame| posting.send(frame)),
        post_counted: None,
        frames,
        close: Box::new(move || {
            Box::pin(async move {
                match link.end(CLOSE_GRACE).await {
                    Exit::Status(0) => Ok(()),
                    exit => Err(exit.to_string()),
                }
            })
        }),
    })
}
