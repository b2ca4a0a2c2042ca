//! A daemon with one instance and nothing else: tests kill it to see that no plugin outlives it.
//!
//! `hold PLUGIN HOST_PROGRAM PATH` starts the plugin, prints its process's id, has it work on `http.handle` of `PATH`, and
//! waits to be killed.

use std::{sync::Arc, time::Duration};
use stele_host::{
    Carrier, FileRules, Incoming, Instance, InstanceSpec, Limits, LogRecord, MetricRecord, Outgoing, Services,
};
use stele_plugin_api::{
    Error,
    ops::{HttpHandle, HttpRequest},
};

struct Nothing;

#[async_trait::async_trait]
impl Services for Nothing {
    async fn call(&self, _instance: &str, call: Incoming) -> Result<Outgoing, Error> {
        Err(call.unsupported())
    }

    fn log(&self, _instance: &str, _record: LogRecord) {}

    fn metric(&self, _instance: &str, _metric: MetricRecord) {}
}

#[tokio::main]
async fn main() {
    let [_, plugin, host_program, path] =
        std::env::args().collect::<Vec<_>>().try_into().expect("usage: hold PLUGIN HOST_PROGRAM PATH");
    let spec = InstanceSpec {
        name: "held".into(),
        plugin: plugin.into(),
        file: FileRules::default(),
        carrier: Carrier::Child,
        config: serde_json::json!({}),
        texts: Vec::new(),
        node: None,
        host_program: host_program.into(),
        limits: Limits::default(),
    };
    let instance = Instance::start(spec, Arc::new(Nothing));
    instance.ready(Duration::from_secs(30)).await.expect("the plugin starts");
    let request = HttpRequest { method: "GET".into(), path, ..HttpRequest::default() };
    let working = tokio::spawn({
        let instance = instance.clone();
        async move { instance.call::<HttpHandle>(request, Duration::from_secs(3600)).await }
    });
    while instance.status().calls_in_flight == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("{}", instance.status().pid.expect("it has a process"));
    drop(working.await);
    std::future::pending::<()>().await;
}
