//! Safe calls into the library.
//!
//! Rules kept here (reference/wecom-archive.md §1.2): whatever the library allocates is freed on every path, each slice
//! serves one call, bytes are copied out by their length, and what makes the library misbehave is refused before the call.

#![allow(unsafe_code)]

use super::ffi::{self, Api};
use super::{Chunk, Code, Egress, Fault, Handle, MIN_ENCRYPTED, Vendor};
use crate::config::{MAX_PAGE, MAX_TIMEOUT_SECONDS};
use std::ffi::{CStr, c_char, c_int};
use std::path::Path;
use std::ptr::NonNull;
use stele_plugin_api::Secret;
use zeroize::Zeroizing;

/// The loaded library.
#[derive(Clone, Copy)]
pub struct Library {
    api: &'static Api,
}

impl Library {
    /// Loads it for the rest of the process; call [`super::silence_stdout`] before.
    pub fn load(path: &Path) -> Result<Self, Fault> {
        ffi::load(path)
            .map(|api| Self { api })
            .map_err(|reason| Fault::Unusable(format!("{} {reason}", path.display())))
    }
}

impl Vendor for Library {
    fn open(&self, corp: &str, secret: &Secret) -> Result<Box<dyn Handle>, Fault> {
        Ok(Box::new(SdkHandle::new(self.api, corp, secret)?))
    }

    fn decrypt(&self, random_key: &[u8], message: &str) -> Result<Vec<u8>, Fault> {
        if message.len() < MIN_ENCRYPTED {
            return Err(Fault::Refused("the encrypted message is too short to be one"));
        }
        let (random_key, message) = (CText::new(random_key)?, CText::new(message.as_bytes())?);
        let slice = Slice::new(self.api)?;
        // SAFETY: both texts and the slice outlive the call; the function needs no handle, keeps nothing, and may run on
        // any number of threads at once (reference/wecom-archive.md §1.7, §1.11).
        let code = unsafe { (self.api.decrypt_data)(random_key.as_ptr(), message.as_ptr(), slice.raw.as_ptr()) };
        returned(code)?;
        Ok(slice.copy())
    }
}

/// One handle of the library. `Send`, not `Sync`: it has one owner at a time, and is destroyed with it.
struct SdkHandle {
    api: &'static Api,
    raw: NonNull<ffi::Sdk>,
}

// SAFETY: the library binds a handle to no thread (reference/wecom-archive.md §1.11), and this is its only pointer.
unsafe impl Send for SdkHandle {}

impl SdkHandle {
    fn new(api: &'static Api, corp: &str, secret: &Secret) -> Result<Self, Fault> {
        let (corp, secret) = (CText::new(corp.as_bytes())?, CText::new(secret.expose().as_bytes())?);
        // SAFETY: no arguments; the result is checked.
        let raw = NonNull::new(unsafe { (api.new_sdk)() }).ok_or_else(out_of_memory)?;
        let handle = Self { api, raw };
        // SAFETY: the handle is fresh and ours, the texts outlive the call; the library copies them.
        returned(unsafe { (api.init)(handle.raw.as_ptr(), corp.as_ptr(), secret.as_ptr()) })?;
        Ok(handle)
    }
}

impl Drop for SdkHandle {
    fn drop(&mut self) {
        // SAFETY: the only pointer to a live handle; nobody can use it after this.
        unsafe { (self.api.destroy_sdk)(self.raw.as_ptr()) }
    }
}

impl Handle for SdkHandle {
    fn chat_data(&mut self, after: u64, limit: u32, egress: &Egress) -> Result<Vec<u8>, Fault> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Fault::Refused("the limit is not between 1 and 1000"));
        }
        let (proxy, password) =
            (CText::new(egress.proxy.as_bytes())?, CText::new(egress.password.expose().as_bytes())?);
        let slice = Slice::new(self.api)?;
        // SAFETY: `&mut self` makes this the only call on the handle; texts and slice outlive it.
        let code = unsafe {
            (self.api.get_chat_data)(
                self.raw.as_ptr(),
                after,
                limit,
                proxy.as_ptr(),
                password.as_ptr(),
                timeout(egress),
                slice.raw.as_ptr(),
            )
        };
        returned(code)?;
        Ok(slice.copy())
    }

    fn media_chunk(&mut self, index: &str, sdkfileid: &str, egress: &Egress) -> Result<Chunk, Fault> {
        let (index, sdkfileid) = (CText::new(index.as_bytes())?, CText::new(sdkfileid.as_bytes())?);
        let (proxy, password) =
            (CText::new(egress.proxy.as_bytes())?, CText::new(egress.password.expose().as_bytes())?);
        let media = MediaData::new(self.api)?;
        // SAFETY: as in `chat_data`.
        let code = unsafe {
            (self.api.get_media_data)(
                self.raw.as_ptr(),
                index.as_ptr(),
                sdkfileid.as_ptr(),
                proxy.as_ptr(),
                password.as_ptr(),
                timeout(egress),
                media.raw.as_ptr(),
            )
        };
        returned(code)?;
        Ok(media.copy())
    }
}

/// A result of the library, freed when dropped. One call each: a second one would leak the bytes of the first.
struct Slice {
    api: &'static Api,
    raw: NonNull<ffi::Slice>,
}

impl Slice {
    fn new(api: &'static Api) -> Result<Self, Fault> {
        // SAFETY: no arguments; the result is checked.
        let raw = NonNull::new(unsafe { (api.new_slice)() }).ok_or_else(out_of_memory)?;
        Ok(Self { api, raw })
    }

    fn copy(&self) -> Vec<u8> {
        // SAFETY: the slice is live; the library vouches for pointer and length until it is freed.
        unsafe { copy((self.api.content)(self.raw.as_ptr()), (self.api.content_len)(self.raw.as_ptr())) }
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        // SAFETY: the only pointer to a live slice; nobody can use it after this.
        unsafe { (self.api.free_slice)(self.raw.as_ptr()) }
    }
}

/// A chunk of the library, freed when dropped.
struct MediaData {
    api: &'static Api,
    raw: NonNull<ffi::MediaData>,
}

impl MediaData {
    fn new(api: &'static Api) -> Result<Self, Fault> {
        // SAFETY: no arguments; the result is checked.
        let raw = NonNull::new(unsafe { (api.new_media_data)() }).ok_or_else(out_of_memory)?;
        Ok(Self { api, raw })
    }

    fn copy(&self) -> Chunk {
        let raw = self.raw.as_ptr();
        // SAFETY: the chunk is live; the library vouches for pointers and lengths until it is freed.
        let (bytes, next, last) = unsafe {
            (
                copy((self.api.data)(raw), (self.api.data_len)(raw)),
                copy((self.api.index)(raw), (self.api.index_len)(raw)),
                (self.api.is_finished)(raw) != 0,
            )
        };
        Chunk { bytes, next: String::from_utf8_lossy(&next).trim_end_matches('\0').to_owned(), last }
    }
}

impl Drop for MediaData {
    fn drop(&mut self) {
        // SAFETY: the only pointer to a live chunk; nobody can use it after this.
        unsafe { (self.api.free_media_data)(self.raw.as_ptr()) }
    }
}

/// Copies a borrowed text of the library.
///
/// # Safety
///
/// `content` is null, or points to `length` readable bytes.
unsafe fn copy(content: *const c_char, length: c_int) -> Vec<u8> {
    match usize::try_from(length) {
        Ok(length) if !content.is_null() => {
            // SAFETY: not null, and as long as the caller vouches for.
            unsafe { std::slice::from_raw_parts(content.cast::<u8>(), length) }.to_vec()
        }
        _ => Vec::new(),
    }
}

/// A text for the library, wiped when dropped: keys and secrets pass through here.
struct CText(Zeroizing<Vec<u8>>);

impl CText {
    fn new(text: &[u8]) -> Result<Self, Fault> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() + 1));
        bytes.extend_from_slice(text);
        bytes.push(0);
        match CStr::from_bytes_with_nul(&bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(Fault::Refused("a text for the vendor library contains a NUL character")),
        }
    }

    fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

fn timeout(egress: &Egress) -> c_int {
    // Below one second the library never returns.
    c_int::try_from(egress.timeout_seconds.clamp(1, MAX_TIMEOUT_SECONDS)).unwrap_or(1)
}

fn returned(code: c_int) -> Result<(), Fault> {
    if code == 0 { Ok(()) } else { Err(Fault::Returned(Code(code))) }
}

fn out_of_memory() -> Fault {
    Fault::Unusable("it returned no object; out of memory?".to_owned())
}
