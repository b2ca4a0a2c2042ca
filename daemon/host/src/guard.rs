//! Whether somebody else could put another file in the place of a plugin's.
//!
//! A plugin runs with all rights of the daemon, so whoever can write to its file has them, too; and so has whoever can write to a
//! folder, or owns a link, on the way there. All of these are looked at, from the root down: each must belong to root or to the user
//! who runs the daemon, and be written to by nobody else. Since that holds on the whole way, nobody else can change it between the
//! look and the load.
//!
//! Two things are not looked at, because who has them has the daemon already: folders the program itself is in, and whether what
//! belongs to the program's own owner does so rightly. In a folder like `/tmp`, where everybody may add and nobody may replace what
//! is another's (sticky), the files are looked at as anywhere.

use rustix::process::{getegid, geteuid};
use std::{
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// Most links on the way to a file, as in the kernel.
const MAX_LINKS: u32 = 40;
/// Bits of a mode.
const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

/// Looks at the file and the way to it, and returns where it really is.
///
/// # Errors
///
/// What could be replaced and by whom, and what is wanted instead.
pub(crate) fn check(path: &Path) -> Result<PathBuf, String> {
    Guard::of_this_process().walk(path)
}

/// Who may have a hand in a plugin's file.
struct Guard {
    user: u32,
    group: u32,
    /// The running program, and whose it is.
    program: PathBuf,
    program_owner: u32,
}

impl Guard {
    fn of_this_process() -> Self {
        let user = geteuid().as_raw();
        Self {
            user,
            group: getegid().as_raw(),
            program: std::env::current_exe().unwrap_or_default(),
            program_owner: fs::metadata("/proc/self/exe").map_or(user, |program| program.uid()),
        }
    }

    fn walk(&self, path: &Path) -> Result<PathBuf, String> {
        let unknown = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| format!("{path} cannot be looked at: {error}")
        };
        let mut at = PathBuf::from("/");
        self.look(&at, &fs::symlink_metadata(&at).map_err(unknown(&at))?)?;
        let mut ahead = names(&std::path::absolute(path).map_err(unknown(path))?);
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(name);
            let found = fs::symlink_metadata(&next).map_err(unknown(&next))?;
            self.look(&next, &found)?;
            if !found.is_symlink() {
                at = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(format!("{} leads through more than {MAX_LINKS} links", path.display()));
            }
            let target = fs::read_link(&next).map_err(unknown(&next))?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            ahead.extend(names(&target));
        }
        Ok(at)
    }

    fn look(&self, path: &Path, found: &Metadata) -> Result<(), String> {
        if self.program.starts_with(path) {
            return Ok(());
        }
        let (path, owner, group, mode) = (path.display(), found.uid(), found.gid(), found.mode() & 0o7777);
        let wanted = match self.user {
            0 => "root".to_owned(),
            user => format!("root or user {user}"),
        };
        if ![0, self.user, self.program_owner].contains(&owner) {
            return Err(format!("{path} belongs to user {owner}, and is wanted to belong to {wanted}"));
        }
        // What is said of a link means nothing, and in a sticky folder nobody replaces what is another's.
        if found.is_symlink() || (found.is_dir() && mode & STICKY != 0) {
            return Ok(());
        }
        let writer = match mode {
            _ if mode & OTHERS_WRITE != 0 => "everybody".to_owned(),
            _ if mode & GROUP_WRITES != 0 && ![0, self.group].contains(&group) => format!("group {group}"),
            _ => return Ok(()),
        };
        Err(format!("{path} may be written to by {writer} (mode {mode:04o}), and is wanted to be by {wanted} alone"))
    }
}

/// The names of a path, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A guard for whom nothing is exempt.
    fn guard() -> Guard {
        let strict = Guard::of_this_process();
        Guard { program: PathBuf::new(), program_owner: strict.user, ..strict }
    }

    fn allow(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[track_caller]
    fn refused(guard: &Guard, path: &Path, expected: &str) {
        let refusal = guard.walk(path).unwrap_err();
        assert!(refusal.contains(expected), "{refusal}");
    }

    #[test]
    fn file_folders_and_links_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let (inner, other) = (top.join("inner"), top.join("other"));
        fs::create_dir(&inner).unwrap();
        fs::create_dir(&other).unwrap();
        let file = inner.join("plugin.so");
        fs::write(&file, "x").unwrap();
        for path in [&inner, &other] {
            allow(path, 0o755);
        }
        allow(&file, 0o644);
        symlink("../inner/plugin.so", other.join("relative.so")).unwrap();
        symlink(other.join("relative.so"), top.join("absolute.so")).unwrap();
        let guard = guard();
        for path in [file.clone(), top.join("absolute.so"), other.join("../inner/./plugin.so")] {
            assert_eq!(guard.walk(&path), Ok(file.clone()), "{path:?}");
        }

        allow(&file, 0o646);
        refused(
            &guard,
            &top.join("absolute.so"),
            "plugin.so may be written to by everybody (mode 0646), and is wanted",
        );
        allow(&file, 0o644);
        // Where the second link is: who writes there leads it elsewhere.
        allow(&other, 0o777);
        refused(&guard, &top.join("absolute.so"), "other may be written to by everybody (mode 0777)");
        allow(&other, 0o1777);
        assert_eq!(guard.walk(&top.join("absolute.so")), Ok(file.clone()), "nobody replaces another's there");
        allow(&inner, 0o775);
        assert_eq!(guard.walk(&file), Ok(file.clone()), "one's own group is oneself");
        let stranger = Guard { group: guard.group + 1, ..self::guard() };
        if guard.group != 0 {
            refused(&stranger, &file, &format!("may be written to by group {}", guard.group));
        }
        let somebody = Guard { user: guard.user + 1, program_owner: guard.user + 1, ..self::guard() };
        if guard.user != 0 {
            refused(&somebody, &file, &format!("belongs to user {}, and is wanted to belong to root or", guard.user));
        }
        // Who owns the program, or writes to its folder, needs no plugin.
        let of_owner = Guard {
            user: guard.user + 1,
            program_owner: guard.user,
            group: guard.group,
            program: inner.join("steled"),
        };
        allow(&inner, 0o777);
        assert_eq!(of_owner.walk(&file), Ok(file.clone()));

        symlink("loop", top.join("loop")).unwrap();
        refused(&guard, &top.join("loop"), "leads through more than 40 links");
        refused(&guard, &top.join("nothing"), "cannot be looked at");
    }
}
