//! What stands for somebody without a name.

/// The text by which a person or a group is found in lists: the name, or what stands for it where there is none, the last
/// part of the native id, behind its last `/`. Sources whose ids are unique within a part of them only put that part before
/// it.
///
/// ```
/// use stele_archive::label;
///
/// assert_eq!(label("王小明", "corp123/wmA"), "王小明");
/// assert_eq!(label("", "corp123/wmA"), "wmA");
/// assert_eq!(label("", "u1"), "u1");
/// ```
pub fn label<'t>(name: &'t str, native_id: &'t str) -> &'t str {
    if name.is_empty() { native_id.rsplit('/').next().unwrap_or(native_id) } else { name }
}
