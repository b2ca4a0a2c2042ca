//! The library's C ABI: 17 functions, the same in every generation (reference/wecom-archive.md §1.2).

#![allow(unsafe_code)]

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::ffi::{c_char, c_int, c_uint, c_ulonglong, c_void};
use std::path::Path;

/// `RTLD_DEEPBIND` of glibc: the library exports its own OpenSSL and curl, and must use its own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const DEEPBIND: c_int = 0x8;
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const DEEPBIND: c_int = 0;

/// Connection state; opaque.
pub type Sdk = c_void;
/// A growing text of the library; opaque, read through its functions.
pub type Slice = c_void;
/// A chunk of a file; opaque, read through its functions.
pub type MediaData = c_void;

macro_rules! functions {
    ($($field:ident = $name:literal : fn($($arg:ty),*) $(-> $ret:ty)?;)+) => {
        /// The library's functions, all there.
        pub struct Api {
            $(pub $field: unsafe extern "C" fn($($arg),*) $(-> $ret)?,)+
        }

        impl Api {
            /// Finds every function; `Err` names those that are missing.
            ///
            /// # Safety
            ///
            /// `library` is the vendor's library or has functions of the same names and signatures, and stays loaded as
            /// long as the result is used.
            unsafe fn find(library: &Library) -> Result<Self, Vec<&'static str>> {
                let mut missing = Vec::new();
                $(
                    // SAFETY: the caller vouches for name and signature; the pointer is copied out, and the caller keeps
                    // the library loaded.
                    let $field = unsafe { library.get::<unsafe extern "C" fn($($arg),*) $(-> $ret)?>(concat!($name, "\0").as_bytes()) };
                    if $field.is_err() {
                        missing.push($name);
                    }
                )+
                match ($($field,)+) {
                    ($(Ok($field),)+) => Ok(Self { $($field: *$field,)+ }),
                    _ => Err(missing),
                }
            }
        }
    };
}

functions! {
    new_sdk = "NewSdk": fn() -> *mut Sdk;
    init = "Init": fn(*mut Sdk, *const c_char, *const c_char) -> c_int;
    destroy_sdk = "DestroySdk": fn(*mut Sdk);
    get_chat_data = "GetChatData": fn(*mut Sdk, c_ulonglong, c_uint, *const c_char, *const c_char, c_int, *mut Slice) -> c_int;
    decrypt_data = "DecryptData": fn(*const c_char, *const c_char, *mut Slice) -> c_int;
    get_media_data = "GetMediaData": fn(*mut Sdk, *const c_char, *const c_char, *const c_char, *const c_char, c_int, *mut MediaData) -> c_int;
    new_slice = "NewSlice": fn() -> *mut Slice;
    free_slice = "FreeSlice": fn(*mut Slice);
    content = "GetContentFromSlice": fn(*mut Slice) -> *mut c_char;
    content_len = "GetSliceLen": fn(*mut Slice) -> c_int;
    new_media_data = "NewMediaData": fn() -> *mut MediaData;
    free_media_data = "FreeMediaData": fn(*mut MediaData);
    index = "GetOutIndexBuf": fn(*mut MediaData) -> *mut c_char;
    index_len = "GetIndexLen": fn(*mut MediaData) -> c_int;
    data = "GetData": fn(*mut MediaData) -> *mut c_char;
    data_len = "GetDataLen": fn(*mut MediaData) -> c_int;
    is_finished = "IsMediaDataFinish": fn(*mut MediaData) -> c_int;
}

/// Loads the library for the rest of the process. It is never unloaded: it may have left threads and exit handlers behind.
pub fn load(path: &Path) -> Result<&'static Api, String> {
    // SAFETY: loading runs the library's constructors. The operator named this file as the vendor's library; that it is
    // one cannot be checked, so it is only loaded in a process of its own (see the module above).
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL | DEEPBIND) }
        .map_err(|error| format!("cannot be loaded: {}", reason(&error)))?;
    let library: &'static Library = Box::leak(Box::new(library));
    // SAFETY: leaked, the library stays loaded for ever; signatures are those of the vendor's header, the same in every
    // generation known.
    let api = unsafe { Api::find(library) }
        .map_err(|missing| format!("is not the vendor's library: it lacks {}", missing.join(", ")))?;
    Ok(Box::leak(Box::new(api)))
}

/// What the dynamic linker says; the error itself only says which call failed.
fn reason(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
