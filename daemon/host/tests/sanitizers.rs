//! Plugins in C under what watches the memory of their process: the sanitizers of the compiler, and valgrind. What is not to be
//! had is skipped, and said.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use stele_host::{Carrier, Instance, InstanceSpec, subject};
use stele_plugin_api::{conformance::run, ops::HttpHandle};
use stele_servers::skip::skip;
use support::{PATIENCE, compile, deed, eventually, host_program, request, running, spec};
use tempfile::TempDir;

/// Watches the processes of plugins.
struct Watch {
    name: &'static str,
    /// How plugins are compiled for it.
    flags: Vec<&'static str>,
    folder: TempDir,
}

impl Watch {
    /// `command` runs the program that follows it, watched; what it has to say goes to stderr, and that is nothing when all is in order.
    fn new(name: &'static str, flags: Vec<&'static str>, command: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let watch = Self { name, flags, folder };
        fs::create_dir(watch.said()).expect("a folder for what is said");
        let (said, program) = (watch.said(), host_program());
        let program = program.display();
        // What holds no plugin is not watched: it lives longer than any.
        let script = format!(
            "#!/bin/sh\n[ \"$1\" = plugin-host ] || exec '{program}' \"$@\"\nexec {command} '{program}' \"$@\" 2>'{}'/$$\n",
            said.display()
        );
        // Written by another process: nobody who is started just then inherits a file that is open for writing, which could not
        // be run.
        let mut write = Command::new("sh");
        write.args(["-c", "printf %s \"$2\" >\"$1\" && chmod +x \"$1\"", "sh"]).arg(watch.host()).arg(script);
        assert!(write.status().expect("there is a shell").success());
        watch
    }

    /// Holds a plugin, watched.
    fn host(&self) -> PathBuf {
        self.folder.path().join("host")
    }

    /// Has a file for each process, of its number.
    fn said(&self) -> PathBuf {
        self.folder.path().join("said")
    }

    fn plugin(&self, source: &str) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
        let stem = source.file_stem().expect("a file has a name").to_string_lossy();
        compile(&source, &format!("{stem}-{}.so", self.name), &self.flags)
    }

    async fn running(&self, plugin: &Path) -> Instance {
        let watched = InstanceSpec { host_program: self.host(), ..spec(self.name, plugin, Carrier::Child) };
        running(watched).await.0
    }

    /// What was said since this was asked last, once all processes are gone.
    async fn complaints(&self) -> String {
        let mut all = String::new();
        for entry in fs::read_dir(self.said()).expect("the folder of what is said").flatten() {
            let process = Path::new("/proc").join(entry.file_name());
            eventually("the process ends", || !process.exists()).await;
            all += &String::from_utf8_lossy(&fs::read(entry.path()).expect("what a process said"));
            fs::remove_file(entry.path()).expect("the file goes");
        }
        all
    }

    /// What is to be seen is seen: nothing would be said by one that does not look, either.
    async fn sees(&self, deeds: &[&str]) {
        let unsound = self.plugin("tests/unsound.c");
        for path in deeds {
            let instance = self.running(&unsound).await;
            // It may not survive it.
            let _ = deed(&instance, path, "").await;
            instance.stop(PATIENCE).await;
            assert!(!self.complaints().await.is_empty(), "{} does not see {path}", self.name);
        }
    }

    /// Calls with bodies of all sizes, of which none fails while the plugin is replaced.
    async fn sees_nothing_in_a_reload(&self, plugin: &Path) {
        let instance = self.running(plugin).await;
        let over = Arc::new(AtomicBool::new(false));
        let callers = [0, 1, 5_000, 1_000_000].map(|size| {
            let (instance, over) = (instance.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let reply = instance.call::<HttpHandle>(request("/", vec![b'x'; size]), PATIENCE).await;
                    let length = reply.expect("no call is lost").body.len();
                    assert!(length == size || size == 0, "{length} bytes came back of {size}");
                }
            })
        });
        for _ in 0..2 {
            instance.restart(instance.spec()).await.expect("the new one starts");
        }
        over.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.expect("no call is lost");
        }
        instance.stop(PATIENCE).await;
        assert_eq!(self.complaints().await, "");
    }

    /// Who keeps no rule has its memory in order all the same, and so has who holds it, whatever is made of what it sends.
    async fn sees_nothing_in_the_zoo(&self, deeds: &[&str]) {
        let zoo = self.plugin("../../tests/zoo/zoo.c");
        for path in deeds {
            let instance = self.running(&zoo).await;
            // It may be ended for it.
            let _ = deed(&instance, path, "").await;
            instance.stop(Duration::from_secs(2)).await;
            assert_eq!(self.complaints().await, "", "{path}");
        }
    }
}

/// AddressSanitizer and UndefinedBehaviorSanitizer, and whether leaks are looked for. Their runtime must be there before any other
/// library is, and the program that holds a plugin is not compiled for them: so it is preloaded.
async fn sanitizers() -> Option<(Watch, bool)> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let library = |name: String| {
        let output = Command::new(&compiler).arg(format!("-print-file-name={name}")).output().ok()?;
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        // The name of one that it does not have comes back as it is.
        (path.is_absolute() && path.exists()).then_some(path)
    };
    let mut flags = vec!["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
    let runtime = if let Some(of_clang) = library(format!("libclang_rt.asan-{}.so", std::env::consts::ARCH)) {
        flags.push("-shared-libasan");
        of_clang
    } else {
        library("libubsan.so".into())?;
        library("libasan.so".into())?
    };
    let command = |leaks: u8| {
        format!(
            "env LD_PRELOAD='{}' ASAN_OPTIONS=detect_leaks={leaks} UBSAN_OPTIONS=print_stacktrace=1",
            runtime.display()
        )
    };
    let watch = Watch::new("sanitizers", flags.clone(), &command(1));
    // The search for leaks traces the process, which not every container lets it do. This one ends at once, since it is no daemon
    // that starts it.
    Command::new(watch.host()).output().expect("the program runs");
    if !watch.complaints().await.contains("LeakSanitizer has encountered a fatal error") {
        return Some((watch, true));
    }
    skip("leaks of plugins in C", "LeakSanitizer may not trace a process here");
    Some((Watch::new("sanitizers", flags, &command(0)), false))
}

fn valgrind() -> Option<Watch> {
    let found = Command::new("valgrind").arg("--version").output().ok()?;
    let command = "valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite";
    found.status.success().then(|| Watch::new("valgrind", vec!["-g"], command))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plugin_in_c_is_sound_under_sanitizers() {
    let Some((watch, leaks)) = sanitizers().await else {
        return skip(
            "plugins in C under AddressSanitizer",
            "the C compiler comes without its runtime (libasan, libubsan)",
        );
    };
    watch.sees(&["/freed", "/beyond", "/overflow"]).await;
    if leaks {
        watch.sees(&["/leak"]).await;
    }
    let echo = watch.plugin("../../plugins/echo-c/echo.c");
    watch.sees_nothing_in_a_reload(&echo).await;
    let report = run(&subject(&echo, Carrier::Child, &watch.host())).await;
    assert!(report.passed(), "{report}");
    assert_eq!(watch.complaints().await, "");
    // Not those that are ended for what they post, nor those that go on posting when they are closed.
    let deeds = ["/strangers", "/twice", "/garbage", "/flood", "/threads", "/oversize", "/goodbye", "/stay"];
    watch.sees_nothing_in_the_zoo(&deeds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plugin_in_c_is_sound_under_valgrind() {
    let Some(watch) = valgrind() else {
        return skip("plugins in C under valgrind", "there is no valgrind on the path");
    };
    watch.sees(&["/freed", "/beyond", "/leak"]).await;
    watch.sees_nothing_in_a_reload(&watch.plugin("../../plugins/echo-c/echo.c")).await;
    watch.sees_nothing_in_the_zoo(&["/strangers", "/twice", "/threads", "/goodbye"]).await;
}
