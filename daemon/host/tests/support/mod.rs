//! What the tests of this crate share: plugins, services that remember, and the log.

#![allow(dead_code, reason = "each test binary uses its part")]

use bytes::Bytes;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use stele_host::{
    Carrier, FileRules, Incoming, Instance, InstanceSpec, InstanceState, Limits, LogRecord, MetricRecord, Outgoing,
    RestartPolicy, Services,
};
use stele_plugin_api::{
    Error, Result,
    ops::{Health, HttpHandle, HttpReply, HttpRequest, Op, StateGet, StateValue},
};

/// Longer than anything takes that works at all.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// A secret no log may show.
pub const SECRET: &str = "hunter2-is-the-secret";

/// The program that holds plugins.
pub fn host_program() -> PathBuf {
    env!("CARGO_BIN_EXE_stele-plugin-host").into()
}

/// The plugin of `examples/misbehave.rs`.
pub fn misbehave() -> PathBuf {
    example(&format!("{}misbehave{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// The plugin of `examples/busy.rs`.
pub fn busy() -> PathBuf {
    example(&format!("{}busy{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// The daemon of `examples/hold.rs`.
pub fn hold() -> PathBuf {
    example("hold")
}

fn example(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("a test has an executable");
    let target = exe.ancestors().nth(2).expect("which is in target/<profile>/deps");
    let path = target.join("examples").join(name);
    assert!(
        path.exists(),
        "{path:?} is missing: `cargo test -p stele-host` or `cargo build -p stele-host --examples` makes it"
    );
    path
}

/// The plugin in C, built by its own Makefile.
pub fn echo_c() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        built("echo-c.so", |draft| {
            let mut make = Command::new("make");
            make.arg("-C").arg(root().join("plugins/echo-c")).arg(format!("OUT={}", draft.display()));
            make
        })
    })
}

/// The plugins in C that keep no rule: what `tests/zoo/zoo.c` does is named by the path of a request.
pub fn zoo() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| compile(&root().join("tests/zoo/zoo.c"), "zoo.so", &[]))
}

/// A plugin as lines of the log have it.
pub fn shown(plugin: &Path) -> String {
    format!("plugin={:?}", plugin.display().to_string())
}

/// Compiles a library.
pub fn compile(source: &Path, name: &str, options: &[&str]) -> PathBuf {
    built(name, |draft| {
        let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
        cc.args([
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-fPIC",
            "-fvisibility=hidden",
            "-O2",
            "-shared",
            "-pthread",
        ]);
        cc.args(options).arg("-I").arg(root().join("plugin-api/include")).arg("-o").arg(draft).arg(source);
        cc
    })
}

/// What a command writes to the file it is given. Other test binaries may build and load the same one: it appears whole or
/// not at all.
fn built(name: &str, command: impl FnOnce(&Path) -> Command) -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let draft = out.with_extension(format!("{}.draft", std::process::id()));
    let output = command(&draft).output().expect("the tests need make and a C compiler (cc, or CC)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&draft, &out).expect("both are in one folder");
    out
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is two folders deep")
}

/// An instance of `plugin` that restarts fast.
pub fn spec(name: &str, plugin: &Path, carrier: Carrier) -> InstanceSpec {
    InstanceSpec {
        name: name.into(),
        plugin: plugin.into(),
        file: FileRules::default(),
        carrier,
        config: serde_json::json!({ "secret": SECRET }),
        texts: Vec::new(),
        node: None,
        host_program: host_program(),
        limits: Limits {
            wait_for_start: PATIENCE,
            restart: RestartPolicy { first_delay: Duration::from_millis(10), ..RestartPolicy::default() },
            ..Limits::default()
        },
    }
}

/// Starts an instance and waits until it answers.
pub async fn running(spec: InstanceSpec) -> (Instance, Arc<Remembering>) {
    log();
    let services = Arc::new(Remembering::default());
    let instance = Instance::start(spec, services.clone());
    services.instance.set(instance.clone()).expect("set once");
    instance.ready(PATIENCE).await.expect("the plugin starts");
    (instance, services)
}

/// An `http.handle` request.
pub fn request(path: &str, body: impl Into<Bytes>) -> HttpRequest {
    HttpRequest { method: "POST".into(), path: path.into(), body: body.into(), ..HttpRequest::default() }
}

/// Asks the misbehaving plugin for a deed, and returns the body of its reply.
pub async fn deed(instance: &Instance, path: &str, body: impl Into<Bytes>) -> Result<Bytes> {
    deed_within(instance, path, body, PATIENCE).await
}

/// The same with a deadline.
pub async fn deed_within(instance: &Instance, path: &str, body: impl Into<Bytes>, deadline: Duration) -> Result<Bytes> {
    let HttpReply { body, .. } = instance.call::<HttpHandle>(request(path, body), deadline).await?;
    Ok(body)
}

/// Waits until `condition` holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the instance is in this state.
pub async fn reached(instance: &Instance, state: InstanceState) {
    eventually(state.as_str(), || instance.status().state == state).await;
}

/// Services that answer `state.get` and remember what they were told.
#[derive(Default)]
pub struct Remembering {
    /// The instance, to be called from within a call.
    pub instance: OnceLock<Instance>,
    pub state: Mutex<HashMap<String, Bytes>>,
    pub logs: Mutex<Vec<LogRecord>>,
    pub metrics: Mutex<Vec<MetricRecord>>,
}

#[async_trait::async_trait]
impl Services for Remembering {
    async fn call(&self, _instance: &str, call: Incoming) -> Result<Outgoing, Error> {
        if call.op != StateGet::NAME {
            return Err(call.unsupported());
        }
        let key = call.decode::<StateGet>()?.key;
        match key.as_str() {
            // Calls the plugin that is calling.
            "reenter" => {
                let instance = self.instance.get().expect("a plugin that runs was started");
                let health = instance.call::<Health>(stele_plugin_api::ops::Empty {}, PATIENCE).await?;
                Ok(Outgoing::of::<StateGet>(StateValue { value: Some(format!("health is {}", health.ok).into()) }))
            }
            "never" => std::future::pending().await,
            key => {
                let value = self.state.lock().expect("no test panics with it").get(key).cloned();
                Ok(Outgoing::of::<StateGet>(StateValue { value }))
            }
        }
    }

    fn log(&self, _instance: &str, record: LogRecord) {
        self.logs.lock().expect("no test panics with it").push(record);
    }

    fn metric(&self, _instance: &str, metric: MetricRecord) {
        self.metrics.lock().expect("no test panics with it").push(metric);
    }
}

/// Everything that was logged so far in this process, at every level.
pub fn log() -> String {
    static LOG: OnceLock<Log> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    });
    String::from_utf8_lossy(&log.0.lock().expect("writing does not panic")).into_owned()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("writing does not panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
