//! Whether somebody else could put another file in the place of a plugin's.
//!
//! A plugin runs with all rights of the daemon, so whoever can write to its file has them, too; and so has whoever can write to a
//! folder, or owns a link, on the way there. All of these are looked at, from the root down: each must belong to root or to the user
//! who runs the daemon, and be written to by nobody else, be it by its mode or by its access list (POSIX). Since that holds on the whole way, nobody else can change it between the
//! look and the load.
//!
//! Two things are not looked at, because who has them has the daemon already: folders the program itself is in, and whether what
//! belongs to the program's own owner does so rightly. In a folder like `/tmp`, where everybody may add and nobody may replace what
//! is another's (sticky), the files are looked at as anywhere.

use rustix::{
    fs::lgetxattr,
    io::Errno,
    process::{getegid, geteuid},
};
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
/// Where the access list of a file is, if it has one; see acl(5) and the kernel's `posix_acl_xattr.h`: a version, then entries of a
/// tag, what is allowed, and whom it is about.
const ACCESS_LIST: &str = "system.posix_acl_access";
const ACCESS_LIST_VERSION: [u8; 4] = 2_u32.to_le_bytes();
const ACCESS_ENTRY_BYTES: usize = 8;
/// Bytes of a longest list that is read.
const MAX_ACCESS_LIST: usize = 64 * 1024;
/// Tags of entries, and the bit that allows to write.
const NAMED_USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const NAMED_GROUP: u16 = 0x08;
const WRITES: u16 = 0o2;

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

    fn is_foreign(&self, group: u32) -> bool {
        ![0, self.group].contains(&group)
    }

    /// Who else may write to a file. Where it has an access list, what its mode says of the group is the most that anybody may whom the
    /// list names, or the group.
    fn writer(&self, path: &Path, group: u32, mode: u32) -> Result<Option<String>, String> {
        if mode & OTHERS_WRITE != 0 {
            return Ok(Some("everybody".to_owned()));
        }
        if mode & GROUP_WRITES == 0 {
            return Ok(None);
        }
        let without = [Entry { tag: OWNING_GROUP, allows: WRITES, whom: 0 }];
        let list = access_list(path)?;
        let writers = list.as_deref().unwrap_or(&without).iter().filter(|entry| entry.allows & WRITES != 0);
        let mut others = writers.filter_map(|entry| match entry.tag {
            NAMED_USER if ![0, self.user, self.program_owner].contains(&entry.whom) => {
                Some(format!("user {}", entry.whom))
            }
            NAMED_GROUP if self.is_foreign(entry.whom) => Some(format!("group {}", entry.whom)),
            OWNING_GROUP if self.is_foreign(group) => Some(format!("group {group}")),
            _ => None,
        });
        Ok(others.next())
    }

    fn look(&self, path: &Path, found: &Metadata) -> Result<(), String> {
        if self.program.starts_with(path) {
            return Ok(());
        }
        let (file, path) = (path, path.display());
        let (owner, group, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
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
        let Some(writer) = self.writer(file, group, mode)? else { return Ok(()) };
        Err(format!("{path} may be written to by {writer} (mode {mode:04o}), and is wanted to be by {wanted} alone"))
    }
}

/// The access list of a file, if it has one.
fn access_list(path: &Path) -> Result<Option<Vec<Entry>>, String> {
    let mut list = vec![0; MAX_ACCESS_LIST];
    let length = match lgetxattr(path, ACCESS_LIST, &mut list[..]) {
        Ok(length) => length,
        // It has none, or where it lies there are none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        Err(error) => return Err(format!("the access list of {} cannot be read: {error}", path.display())),
    };
    list.truncate(length);
    let entries = list.strip_prefix(&ACCESS_LIST_VERSION).filter(|entries| entries.len() % ACCESS_ENTRY_BYTES == 0);
    let entries = entries.ok_or_else(|| format!("the access list of {} is of an unknown kind", path.display()))?;
    Ok(Some(entries.chunks(ACCESS_ENTRY_BYTES).map(Entry::read).collect()))
}

/// An entry of an access list.
struct Entry {
    tag: u16,
    allows: u16,
    whom: u32,
}

impl Entry {
    fn read(bytes: &[u8]) -> Self {
        Self {
            tag: u16::from_le_bytes([bytes[0], bytes[1]]),
            allows: u16::from_le_bytes([bytes[2], bytes[3]]),
            whom: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
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

        allow(&inner, 0o755);

        symlink("loop", top.join("loop")).unwrap();
        refused(&guard, &top.join("loop"), "leads through more than 40 links");
        refused(&guard, &top.join("nothing"), "cannot be looked at");
    }

    const MASK: u16 = 0x10;

    /// An access list of these entries beside those of owner, group and others.
    fn list(file: &Path, entries: &[(u16, u16, u32)]) -> Result<(), Errno> {
        let usual = [(0x01, 0o7, u32::MAX), (OWNING_GROUP, 0o4, u32::MAX), (0x20, 0o4, u32::MAX)];
        let mut all = [&usual[..], entries].concat();
        all.sort_unstable();
        let mut list = ACCESS_LIST_VERSION.to_vec();
        for (tag, allows, whom) in all {
            list.extend(tag.to_le_bytes());
            list.extend(allows.to_le_bytes());
            list.extend(whom.to_le_bytes());
        }
        rustix::fs::setxattr(file, ACCESS_LIST, &list, rustix::fs::XattrFlags::empty())
    }

    #[test]
    fn access_lists_are_looked_at() {
        const MALLORY: u32 = 54321;
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let (inner, guard) = (top.join("inner"), guard());
        let file = inner.join("plugin.so");
        fs::create_dir(&inner).unwrap();
        fs::write(&file, "x").unwrap();
        allow(&inner, 0o755);
        allow(&file, 0o644);
        if let Err(error) = list(&file, &[(MASK, 0o6, u32::MAX)]) {
            stele_servers::skip::skip("access lists", &format!("they cannot be set here: {error}"));
            return;
        }
        assert_eq!(guard.walk(&file), Ok(file.clone()), "a mask alone lets nobody write");
        for entries in [
            [(MASK, 0o4, u32::MAX), (NAMED_USER, 0o6, MALLORY)],
            [(MASK, 0o6, u32::MAX), (NAMED_USER, 0o4, MALLORY)],
            [(MASK, 0o6, u32::MAX), (NAMED_USER, 0o6, guard.user)],
            [(MASK, 0o6, u32::MAX), (NAMED_GROUP, 0o6, guard.group)],
        ] {
            list(&file, &entries).unwrap();
            assert_eq!(guard.walk(&file), Ok(file.clone()), "{entries:?}");
        }
        list(&file, &[(MASK, 0o6, u32::MAX), (NAMED_GROUP, 0o6, MALLORY)]).unwrap();
        refused(&guard, &file, "plugin.so may be written to by group 54321 (mode 0764), and is wanted");
        list(&file, &[(MASK, 0o6, u32::MAX), (NAMED_USER, 0o6, MALLORY)]).unwrap();
        refused(&guard, &file, "plugin.so may be written to by user 54321 (mode 0764), and is wanted");
        allow(&file, 0o644);
        assert_eq!(guard.walk(&file), Ok(file.clone()), "the mask says that nobody may");
        list(&inner, &[(MASK, 0o7, u32::MAX), (NAMED_USER, 0o7, MALLORY)]).unwrap();
        refused(&guard, &file, "inner may be written to by user 54321");
    }
}
