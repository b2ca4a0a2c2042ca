//! What lives in the zoo, and what the operator is to read of each: the words of one line, and how often it may be there.

/// An instance of a plugin that keeps no rule.
pub struct Animal {
    /// Name of the instance.
    pub name: &'static str,
    /// What the plugin's file is named for, where that says what is wrong.
    pub file: &'static str,
    /// The instance's setting `deed`.
    pub deed: &'static str,
    /// Where it runs.
    pub carrier: &'static str,
    /// `[instance.limits]`
    pub limits: &'static str,
    /// What it is asked for, and how that may be answered.
    pub asked: &'static [(&'static str, &'static [u16])],
    /// Words of the line.
    pub told: &'static [&'static str],
    /// Lines there may be of that.
    pub most: usize,
    /// When the daemon stops, and not before.
    pub at_stop: bool,
}

const ANIMAL: Animal = Animal {
    name: "",
    file: "",
    deed: "",
    carrier: "child",
    limits: "",
    asked: &[],
    told: &[],
    most: 1,
    at_stop: false,
};
const INSIDE: Animal = Animal { carrier: "in-process", ..ANIMAL };

/// Attempts at a plugin that does not come up, or dies of itself.
const ATTEMPTS: usize = 8;

const NO_START: &str = "plugin does not start";
const CRASHED: &str = "plugin has crashed";
const HANGS: &str = "the plugin hangs: it did not answer for ";
const DROPPED: &str = "plugin sends what is dropped";
const DISORDER: &str = "plugin does not end in order";
const NO_ANSWER: &str = "the plugin did not answer a request";

const TOO_MUCH: &str = "a frame of 2097166 bytes, at most 1048576 are taken";
const NO_CREDIT: &str = "the peer sent more items than it was granted";
const AGAIN: &str = "frames for calls that are over: answered twice, or too late";
const STRANGE: &str = "frames of a kind that this version does not know";
const RULE: &str = "frames that break a rule: items beyond its credit, a second hello, a number used twice";

pub const ANIMALS: &[Animal] = &[
    // No plugins at all, by their descriptor or by how they are loaded.
    Animal { name: "null", file: "null", told: &[NO_START, "the library returned no descriptor"], ..ANIMAL },
    Animal { name: "magic", file: "magic", told: &[NO_START, "the descriptor begins with 0x12345678"], ..ANIMAL },
    Animal { name: "abi", file: "abi", told: &[NO_START, "the plugin speaks ABI 2"], ..ANIMAL },
    Animal { name: "size", file: "size", told: &[NO_START, "the descriptor has 16 bytes"], ..ANIMAL },
    Animal { name: "nameless", file: "name", told: &[NO_START, "the descriptor has no usable name"], ..ANIMAL },
    Animal {
        name: "open",
        file: "open",
        told: &[NO_START, "the plugin refused to open with code -2"],
        most: ATTEMPTS,
        ..ANIMAL
    },
    Animal { name: "post", file: "post", told: &[NO_START, "the plugin has no usable post function"], ..ANIMAL },
    Animal { name: "in-null", file: "null", told: &[NO_START, "the library returned no descriptor"], ..INSIDE },
    Animal { name: "in-size", file: "size", told: &[NO_START, "the descriptor has 16 bytes"], ..INSIDE },
    Animal {
        name: "in-open",
        file: "open",
        told: &[NO_START, "the plugin refused to open with code -2"],
        most: ATTEMPTS,
        ..INSIDE
    },
    Animal {
        name: "dies-loading",
        file: "crash",
        told: &[NO_START, "the plugin was not loaded: the plugin's process was ended by signal 11 (SIGSEGV)"],
        most: ATTEMPTS,
        ..ANIMAL
    },
    Animal {
        name: "stuck-loading",
        file: "stuck",
        told: &[NO_START, "the plugin was not loaded in time"],
        most: ATTEMPTS,
        ..ANIMAL
    },
    // What they say, or do not, before anybody asks.
    Animal {
        name: "silent",
        deed: "silent",
        told: &[NO_START, "the plugin did not answer hello in time"],
        most: ATTEMPTS,
        ..ANIMAL
    },
    Animal { name: "nonsense", deed: "nonsense", told: &[NO_START, "unusable hello"], ..ANIMAL },
    Animal { name: "in-nonsense", deed: "nonsense", told: &[NO_START, "unusable hello"], ..INSIDE },
    Animal { name: "twofold", deed: "twofold", told: &[DROPPED, RULE], ..ANIMAL },
    Animal { name: "in-twofold", deed: "twofold", told: &[DROPPED, RULE], ..INSIDE },
    Animal {
        name: "leaves",
        deed: "leaves",
        told: &[CRASHED, "the plugin ended its session"],
        most: ATTEMPTS,
        ..ANIMAL
    },
    Animal { name: "leave", asked: &[("/leave", &[503])], told: &[CRASHED, "the plugin ended its session"], ..ANIMAL },
    Animal {
        name: "in-leave",
        asked: &[("/leave", &[503])],
        told: &[CRASHED, "the plugin ended its session"],
        ..INSIDE
    },
    Animal { name: "mute", deed: "mute", told: &[CRASHED, HANGS], most: ATTEMPTS, ..ANIMAL },
    Animal { name: "in-mute", deed: "mute", told: &["plugin cannot be killed in this process", HANGS], ..INSIDE },
    // Answers.
    Animal { name: "twice", asked: &[("/twice", &[200])], told: &[DROPPED, AGAIN], ..ANIMAL },
    Animal { name: "in-twice", asked: &[("/twice", &[200])], told: &[DROPPED, AGAIN], ..INSIDE },
    Animal { name: "threads", asked: &[("/threads", &[200])], told: &[DROPPED, AGAIN], ..ANIMAL },
    Animal { name: "in-threads", asked: &[("/threads", &[200])], told: &[DROPPED, AGAIN], ..INSIDE },
    Animal { name: "never", asked: &[("/never", &[504])], told: &[NO_ANSWER, "not answered in time"], ..ANIMAL },
    Animal { name: "in-never", asked: &[("/never", &[504])], told: &[NO_ANSWER, "not answered in time"], ..INSIDE },
    Animal { name: "garbage", asked: &[("/garbage", &[500])], told: &[NO_ANSWER, "unreadable payload"], ..ANIMAL },
    Animal { name: "in-garbage", asked: &[("/garbage", &[500])], told: &[NO_ANSWER, "unreadable payload"], ..INSIDE },
    Animal { name: "oversize", asked: &[("/oversize", &[500])], told: &[NO_ANSWER, TOO_MUCH], ..ANIMAL },
    Animal { name: "in-oversize", asked: &[("/oversize", &[500])], told: &[NO_ANSWER, TOO_MUCH], ..INSIDE },
    Animal { name: "beyond", asked: &[("/beyond", &[503])], told: &[CRASHED, "signal 6 (SIGABRT)"], ..ANIMAL },
    Animal { name: "flood", asked: &[("/flood", &[500])], told: &[NO_ANSWER, NO_CREDIT], ..ANIMAL },
    Animal { name: "in-flood", asked: &[("/flood", &[500])], told: &[NO_ANSWER, NO_CREDIT], ..INSIDE },
    Animal { name: "strangers", asked: &[("/strangers", &[200])], told: &[DROPPED, STRANGE], ..ANIMAL },
    Animal { name: "in-strangers", asked: &[("/strangers", &[200])], told: &[DROPPED, STRANGE], ..INSIDE },
    // Without end. Of the second one both is true, and which is noticed first is chance.
    Animal { name: "babble", asked: &[("/babble", &[200])], told: &[DROPPED, AGAIN], ..ANIMAL },
    Animal { name: "beg", asked: &[("/beg", &[503, 504])], told: &[CRASHED, "the plugin "], ..ANIMAL },
    Animal { name: "goodbye", asked: &[("/goodbye", &[200])], told: &[DROPPED, AGAIN], at_stop: true, ..ANIMAL },
    Animal {
        name: "stay",
        asked: &[("/stay", &[200])],
        told: &[DISORDER, "the peer did not finish in time"],
        at_stop: true,
        ..ANIMAL
    },
    Animal {
        name: "crash-closing",
        asked: &[("/crash-closing", &[200])],
        told: &[DISORDER, "signal 11 (SIGSEGV)"],
        at_stop: true,
        ..ANIMAL
    },
    Animal {
        name: "hang-closing",
        asked: &[("/hang-closing", &[200])],
        told: &[DISORDER, "the plugin did not close in time, and its process was ended"],
        at_stop: true,
        ..ANIMAL
    },
    Animal {
        name: "in-hang-closing",
        asked: &[("/hang-closing", &[200])],
        told: &[DISORDER, "the plugin did not close in time, and is left alone"],
        at_stop: true,
        ..INSIDE
    },
    // What it prints and logs. A flood is told once in a minute.
    Animal { name: "say", asked: &[("/say", &[200])], told: &["words on stdout", "stream=\"stdout\""], ..ANIMAL },
    Animal { name: "print", asked: &[("/print", &[200])], told: &["the plugin prints too much"], most: 3, ..ANIMAL },
    Animal { name: "log", asked: &[("/log", &[200])], told: &["the plugin logs too much"], most: 3, ..ANIMAL },
    // Its process.
    Animal {
        name: "fork",
        asked: &[("/fork", &[200]), ("/exit", &[503])],
        told: &["plugin leaves processes behind; they are killed", "processes=1"],
        ..ANIMAL
    },
    Animal {
        name: "forks-on",
        asked: &[("/fork", &[200]), ("/fork", &[200])],
        told: &["plugin leaves processes behind; they are killed", "processes=2"],
        at_stop: true,
        ..ANIMAL
    },
    Animal { name: "exit", asked: &[("/exit", &[503])], told: &[CRASHED, "exited with status 0"], ..ANIMAL },
    Animal { name: "abort", asked: &[("/abort", &[503])], told: &[CRASHED, "signal 6 (SIGABRT)"], ..ANIMAL },
    Animal { name: "crash", asked: &[("/crash", &[503])], told: &[CRASHED, "signal 11 (SIGSEGV)"], ..ANIMAL },
    Animal { name: "scribble", asked: &[("/scribble", &[503])], told: &[CRASHED, "broke the protocol"], ..ANIMAL },
    Animal { name: "close", asked: &[("/close", &[503])], told: &[CRASHED, "the plugin's process"], ..ANIMAL },
    Animal { name: "hang", asked: &[("/hang", &[503, 504])], told: &[CRASHED, HANGS], ..ANIMAL },
    Animal { name: "beat", asked: &[("/beat", &[503, 504])], told: &[CRASHED, HANGS], ..ANIMAL },
    Animal { name: "spin", asked: &[("/spin", &[503, 504])], told: &[CRASHED, HANGS, "of processor time"], ..ANIMAL },
    Animal {
        name: "busy",
        limits: "cpu_percent = 10\ncpu_window_seconds = 5",
        asked: &[("/busy", &[200])],
        told: &[CRASHED, "its limit is 10 % (limits.cpu_percent)"],
        ..ANIMAL
    },
    Animal {
        name: "leak",
        limits: "memory_mib = 100",
        asked: &[("/leak", &[200, 503])],
        told: &[CRASHED, "its limit is 100 MiB (limits.memory_mib)"],
        ..ANIMAL
    },
];

/// An instance of the plugin in Rust that panics, and where.
pub struct Panics {
    /// Name of the instance.
    pub name: &'static str,
    /// Where it runs.
    pub carrier: &'static str,
    /// The instance's setting `panics`.
    pub at: &'static [&'static str],
    /// What the operator reads besides the places.
    pub told: &'static [&'static str],
}

/// In what happens when the daemon stops, and not before.
pub const AT_STOP: &[&str] = &["close", "drop"];
/// In everything that does not keep others of these from being reached.
pub const EVERYWHERE: &str = "everywhere";

pub const PANICS: &[Panics] = &[
    Panics { name: "mistakes", carrier: "child", at: &["mistakes"], told: &[NO_START, "panicked while it opened"] },
    Panics { name: "opening", carrier: "child", at: &["open"], told: &[NO_START, "panicked while it opened"] },
    Panics {
        name: "describing",
        carrier: "child",
        at: &["describe"],
        told: &["the instance is not well", "the handler panicked"],
    },
    Panics { name: "discovering", carrier: "child", at: &["discover"], told: &[] },
    Panics { name: "pulling", carrier: "child", at: &["pull"], told: &[] },
    Panics {
        name: EVERYWHERE,
        carrier: "child",
        at: &["health", "http", "task", "thread", "recover", "directory", "media", "render", "close", "drop"],
        told: &[NO_ANSWER, "the handler panicked"],
    },
    Panics {
        name: "inside",
        carrier: "in-process",
        at: &["health", "http", "task", "close"],
        told: &[NO_ANSWER, "the handler panicked"],
    },
];
