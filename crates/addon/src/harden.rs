//! Keeps other processes of the same user, and core dumps, away from the credentials in memory.
//!
//! No defence against root, which may read any process.

use std::io;

/// After this call no other process of this user can trace this one or read its memory or
/// environment, and the operating system writes no image of it, as far as the platform can:
///
/// Everywhere but on Windows SIGUSR1 is ignored from now on. Then:
///
/// - Linux: not dumpable (`prctl(2)`), which also gives `/proc/PID` to root, and no core file.
/// - macOS: `PT_DENY_ATTACH`, and no core file. Reading memory needs a task port, which the system
///   gives to root and to entitled debuggers alone.
/// - FreeBSD: `PROC_TRACE_CTL_DISABLE`, which covers core dumps and ktrace as well.
/// - Windows: the process object's access list leaves its owner only to wait and to end the
///   process, and crash reports carry no heap.
pub fn harden_process() -> io::Result<()> {
    #[cfg(unix)]
    {
        no_inspector();
        no_core_file()?;
    }
    no_trace()
}

/// Node opens its inspector, and with it all memory, on a SIGUSR1 from any process of its user.
#[cfg(unix)]
fn no_inspector() {
    // SAFETY: ignoring a signal runs no code of ours; Node's handler is replaced for good.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
}

#[cfg(unix)]
fn no_core_file() -> io::Result<()> {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live, initialised rlimit that the call only reads.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn no_trace() -> io::Result<()> {
    // SAFETY: PR_SET_DUMPABLE takes integers alone.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })
}

#[cfg(target_os = "macos")]
fn no_trace() -> io::Result<()> {
    // SAFETY: PT_DENY_ATTACH ignores pid, address and data.
    check(unsafe { libc::ptrace(libc::PT_DENY_ATTACH, 0, std::ptr::null_mut(), 0) })
}

#[cfg(target_os = "freebsd")]
fn no_trace() -> io::Result<()> {
    let mut mode: libc::c_int = libc::PROC_TRACE_CTL_DISABLE;
    // SAFETY: PROC_TRACE_CTL reads one int behind the pointer, which outlives the call; id 0 with
    // P_PID is the calling process.
    check(unsafe { libc::procctl(libc::P_PID, 0, libc::PROC_TRACE_CTL, (&raw mut mode).cast()) })
}

#[cfg(windows)]
fn no_trace() -> io::Result<()> {
    windows::deny_owner()
}

#[cfg(unix)]
fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(windows)]
mod windows {
    use std::{io, ptr};

    use windows_sys::{
        Win32::{
            Foundation::LocalFree,
            Security::{
                Authorization::{
                    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
                },
                DACL_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
                SetKernelObjectSecurity,
            },
            System::{
                ErrorReporting::{WER_FAULT_REPORTING_FLAG_NOHEAP, WerSetFlags},
                Threading::GetCurrentProcess,
            },
        },
        w,
    };

    /// SYSTEM and administrators keep everything; the owner (`OW`, which also takes away an
    /// owner's implied right to change this list) may only query, wait for and end the process.
    const ACCESS: *const u16 = w!("D:P(A;;0x1fffff;;;SY)(A;;0x1fffff;;;BA)(A;;0x101001;;;OW)");

    pub fn deny_owner() -> io::Result<()> {
        let mut descriptor = ptr::null_mut();
        // SAFETY: ACCESS is NUL-terminated; the descriptor that comes back is freed below.
        let parsed = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                ACCESS,
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        };
        if parsed == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is the valid one made above; the pseudo handle of the current
        // process carries every right.
        let set = unsafe {
            SetKernelObjectSecurity(
                GetCurrentProcess(),
                DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                descriptor,
            )
        };
        let result = if set == 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        };
        // SAFETY: made by the conversion above, freed once. WerSetFlags takes an integer alone.
        unsafe {
            LocalFree(descriptor);
            WerSetFlags(WER_FAULT_REPORTING_FLAG_NOHEAP);
        }
        result
    }
}
