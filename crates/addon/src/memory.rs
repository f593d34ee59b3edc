//! Gives free memory back to the system.
//!
//! What this is not: it frees nothing.

/// glibc keeps what has been freed between pieces that are in use, for pieces to come.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn give_back() {
    // SAFETY: it takes no pointer, and any thread may call it at any time (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

/// Elsewhere the allocator sees to that.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back() {}
