//! Memory that was freed, back to the system (malloc_trim(3)).

/// Gives freed memory back that the allocator keeps. It takes milliseconds, and does nothing where the C library is not glibc.
pub fn give_back_freed() {
    // SAFETY: the call has no conditions; the library locks what is its own.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
