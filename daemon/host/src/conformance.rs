//! What the kit of [`stele_plugin_api::conformance`] looks at: a plugin's file, over either carrier.
//!
//! The test of an author, in any crate whose `dev-dependencies` have this one:
//!
//! ```no_run
//! stele_host::assert_conforms("target/debug/libmine.so", "steled", serde_json::json!({ "greeting": "hi" }));
//! ```

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
    conformance::{self, MOST_WAITING, Pipe, Subject},
    frame::{Decoded, Frame},
    hello,
};
use tokio::sync::mpsc;

/// What a plugin's process may take to end.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

/// The plugin in the file `plugin`, for the kit: whether it keeps the rules of the boundary. `host_program` is what holds it, over
/// the child carrier.
///
/// A file that is no plugin fails the first check, with the reason.
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
                // Loading runs the library's constructors, which may block as well.
                Carrier::InProcess => {
                    let load = move || loader::load(&spec.plugin, &spec.file).map_err(|error| error.to_string());
                    Pipe::in_process(load).await
                }
            }
        })
    })
}

/// Makes every check of the kit on the plugin in the file `plugin`, over both carriers and in each encoding it takes. `host_program` is
/// what holds it, over the child carrier: `steled`, by its path or from the `PATH`. `config` is what the plugin opens with.
///
/// In-process means in this process: a plugin that crashes takes it down, if it has not failed in a process of its own before.
///
/// # Panics
///
/// With what was found over the first carrier over which the plugin breaks a rule.
pub fn assert_conforms(plugin: impl AsRef<Path>, host_program: impl AsRef<Path>, config: Value) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("threads for a runtime can be had");
    for (carrier, config) in [(Carrier::Child, config.clone()), (Carrier::InProcess, config)] {
        let subject = subject(plugin.as_ref(), carrier, host_program.as_ref()).with_config(config);
        let runs = runtime.block_on(conformance::run_each(&subject));
        let found: String = runs.iter().map(|run| format!("{carrier}, {run}")).collect();
        assert!(runs.iter().all(|run| run.report.passed()), "{}\n{found}", plugin.as_ref().display());
    }
}

async fn in_child(spec: &InstanceSpec) -> Result<Pipe, String> {
    let (sender, frames) = mpsc::channel(MOST_WAITING);
    let deliver = Arc::new(move |decoded| {
        let frame = match decoded {
            Decoded::Frame(frame) => frame,
            Decoded::Oversized(head) => Frame { flags: head.flags, ..Frame::bare(head.kind, head.id) },
        };
        // The check that wanted it is over, or it is one too many.
        let _ = sender.try_send(frame);
        // The kit wants to see all of it, as fast as it comes.
        true
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
