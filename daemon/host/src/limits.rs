//! What a plugin's process may take of the machine.
//!
//! Two hands hold it. The process itself, before it loads the plugin, asks the kernel for what the kernel can do for one
//! process without a control group: open files, priority, and a wall of memory. The daemon looks at the process for what the
//! kernel cannot: memory that is really held, and processor time as a rate. A plugin that goes past what is looked at is
//! killed, since nobody can take memory or time back from a process, and that the daemon did it makes the cause certain.
//!
//! *Memory* is what the process holds by itself, in memory or swapped. `RLIMIT_AS` bounds addresses instead, of which a
//! runtime reserves what it never uses; `RLIMIT_DATA` bounds what could be written to, which stacks and allocators make several
//! times what is. So the latter is no more than the wall for what outruns two looks.
//!
//! *Processor time*: `RLIMIT_CPU` bounds the time of a whole life, which only says how old a plugin may get.

use crate::carrier::Exit;
use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// Pause between two looks at a process.
const LOOK: Duration = Duration::from_millis(100);
/// Looks in a row at which a process has all the files open it may: one at which it has may be chance.
const FULL_LOOKS: u32 = 10;
/// Times its processor time is noted within the window of the average.
const NOTES: u32 = 32;
/// What the wall of memory is above twice the limit: more than a process can fill between two looks.
const WALL_BYTES: u64 = 1 << 30;
/// What `/proc` counts processor time in (`USER_HZ`), the same on every machine this compiles for.
const TICKS_PER_SECOND: u64 = 100;

/// What a plugin's own process may take of the machine; without limits by default. In-process they mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessLimits {
    /// Bytes of memory it may hold, in memory or swapped. Of files only what it changed counts, and of the copy of a pinned plugin what
    /// it uses.
    pub memory: Option<u64>,
    /// Files, sockets and pipes it may have open. A process that stays at its limit for a second counts as one that went past it.
    pub open_files: Option<u64>,
    /// Processor time it may take over each [`Self::cpu_window`], in percent of one processor.
    pub cpu_percent: Option<u32>,
    /// What that is the average of.
    pub cpu_window: Duration,
    /// How much it gives way to other processes, from 0 (not at all) to 19.
    pub nice: u8,
}

impl Default for ProcessLimits {
    fn default() -> Self {
        Self { memory: None, open_files: None, cpu_percent: None, cpu_window: Duration::from_secs(60), nice: 0 }
    }
}

impl ProcessLimits {
    /// Has the kernel hold this process to them, and whatever it starts.
    ///
    /// # Errors
    ///
    /// What this machine does not let the process ask for.
    pub(crate) fn apply(&self) -> Result<(), String> {
        if let Some(memory) = self.memory {
            let wall = memory.saturating_mul(2).saturating_add(WALL_BYTES);
            let wall = getrlimit(Resource::Data).maximum.map_or(wall, |most| most.min(wall));
            bound(Resource::Data, wall).map_err(|error| format!("memory cannot be limited: {error}"))?;
        }
        if let Some(files) = self.open_files {
            if let Some(most) = getrlimit(Resource::Nofile).maximum.filter(|&most| most < files) {
                return Err(format!(
                    "limits.open_files is {files}, and the daemon itself may have {most} open at most"
                ));
            }
            bound(Resource::Nofile, files).map_err(|error| format!("open files cannot be limited: {error}"))?;
        }
        if self.nice > 0 {
            nice(i32::from(self.nice)).map_err(|error| format!("limits.nice cannot be applied: {error}"))?;
        }
        Ok(())
    }
}

fn bound(resource: Resource, most: u64) -> rustix::io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

/// Looks at a process until it is past one of its limits, and says which. For a process that was not waited for yet; one that is
/// gone is past none.
pub(crate) async fn exceeded(pid: u32, limits: ProcessLimits) -> Exit {
    let ProcessLimits { memory, open_files, cpu_percent, cpu_window, nice: _ } = limits;
    if memory.is_none() && open_files.is_none() && cpu_percent.is_none() {
        return std::future::pending().await;
    }
    let process = PathBuf::from(format!("/proc/{pid}"));
    let (mut full, mut times) = (0, Times::over(cpu_window));
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is read of `/proc` is made by the kernel when it is read: there is no disk to wait for.
    loop {
        looks.tick().await;
        if let Some(limit) = memory
            && let Some(held) = held_bytes(&process)
            && held > limit
        {
            let (held, limit) = (held.div_ceil(1 << 20), limit >> 20);
            return Exit::OverLimit(format!("held {held} MiB of memory, its limit is {limit} MiB (limits.memory_mib)"));
        }
        if let Some(limit) = open_files
            && let Some(open) = open_files_of(&process)
        {
            full = if open >= limit { full + 1 } else { 0 };
            if full >= FULL_LOOKS {
                return Exit::OverLimit(format!("has all of the {limit} files open it may (limits.open_files)"));
            }
        }
        if let Some(limit) = cpu_percent
            && let Some(time) = processor_time(&process)
            && let Some(percent) = times.note(Instant::now(), time)
            && percent > f64::from(limit)
        {
            let seconds = cpu_window.as_secs();
            return Exit::OverLimit(format!(
                "took {percent:.0} % of a processor for {seconds} s, its limit is {limit} % (limits.cpu_percent)"
            ));
        }
    }
}

/// Memory that is a process's own, and what of it is swapped. `None` when the process is gone.
fn held_bytes(process: &Path) -> Option<u64> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let kib = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let parts = [kib("RssAnon:")?, kib("RssShmem:")?, kib("VmSwap:").unwrap_or(0)];
    Some(parts.iter().sum::<u64>() * 1024)
}

fn open_files_of(process: &Path) -> Option<u64> {
    u64::try_from(fs::read_dir(process.join("fd")).ok()?.count()).ok()
}

/// Processor time of a process, and of those it started and waited for.
pub(crate) fn processor_time(process: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let times = fields.split(' ').skip(11).take(4).map(str::parse::<u64>);
    let ticks: u64 = times.collect::<Result<Vec<_>, _>>().ok()?.iter().sum();
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Processor time at some moments of the last window.
struct Times {
    window: Duration,
    /// Oldest first; at most [`NOTES`] and two.
    notes: VecDeque<(Instant, Duration)>,
}

impl Times {
    fn over(window: Duration) -> Self {
        Self { window, notes: VecDeque::new() }
    }

    /// Percent of a processor that were taken over the window that ends now; `None` as long as it is not over.
    fn note(&mut self, now: Instant, time: Duration) -> Option<f64> {
        if self.notes.back().is_none_or(|(last, _)| now.duration_since(*last) >= self.window / NOTES) {
            self.notes.push_back((now, time));
        }
        while self.notes.get(1).is_some_and(|(next, _)| now.duration_since(*next) >= self.window) {
            self.notes.pop_front();
        }
        let &(first, before) = self.notes.front()?;
        let passed = now.duration_since(first);
        let taken = time.saturating_sub(before);
        (passed >= self.window).then(|| 100.0 * taken.as_secs_f64() / passed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_window() {
        let mut times = Times::over(Duration::from_secs(10));
        let start = Instant::now();
        let mut at = |second: u64, taken: u64| {
            times.note(start + Duration::from_secs(second), Duration::from_secs(taken)).map(|percent| percent.round())
        };
        // Nothing is said before the first window is over.
        assert_eq!((at(0, 0), at(5, 5), at(9, 9)), (None, None, None));
        assert_eq!(at(10, 10), Some(100.0));
        assert_eq!(at(20, 10), Some(0.0), "what is longer ago does not count");
        assert_eq!(at(30, 15), Some(50.0));
        for second in 31..10_000 {
            at(second, 15);
        }
        assert!(times.notes.len() <= NOTES as usize + 2, "{}", times.notes.len());
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let process = Path::new("/proc/self");
        let before = held_bytes(process).unwrap();
        let held = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = held_bytes(process).unwrap();
        assert!(after > before + (32 << 20), "{before} and {after}");
        drop(held);
        assert!(open_files_of(process).unwrap() >= 3);
        let before = processor_time(process).unwrap();
        while processor_time(process).unwrap() <= before {
            std::hint::spin_loop();
        }
        let gone = Path::new("/proc/0");
        assert_eq!((held_bytes(gone), open_files_of(gone), processor_time(gone)), (None, None, None));
    }
}
