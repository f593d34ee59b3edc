//! Which processes of a user run on this machine.
//!
//! What it is not: a list that stays true. It is looked at once, for a warning.

use crate::UserId;

/// Ids of the other processes that run as `user`, whether started by that user or by a set-user-id
/// program, as far as this process may see them. Linux alone tells: elsewhere the list is empty.
pub fn processes_of(user: &UserId) -> Vec<u32> {
    imp::processes_of(user)
}

#[cfg(target_os = "linux")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "it is long on Windows")]
mod imp {
    use std::fs;

    use crate::UserId;

    pub(super) fn processes_of(user: &UserId) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let own = std::process::id();
        let mut found: Vec<u32> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|&id| id != own && status(id).is_some_and(|text| is_of(&text, user)))
            .collect();
        found.sort_unstable();
        found
    }

    /// The owner of `/proc/PID` does not tell: it is root for a process that cannot be dumped.
    fn status(id: u32) -> Option<String> {
        fs::read_to_string(format!("/proc/{id}/status")).ok()
    }

    /// Whether the process has not ended, and `user` is one of its users: real, effective, saved or
    /// of the file system (`proc_pid_status(5)`).
    fn is_of(status: &str, user: &UserId) -> bool {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let ended = field("State:").is_some_and(|state| state.trim_start().starts_with(['Z', 'X']));
        let users = field("Uid:").unwrap_or_default();
        !ended
            && users
                .split_ascii_whitespace()
                .any(|uid| uid.parse().is_ok_and(|uid| UserId::from_raw(uid) == *user))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_process_is_of_each_of_its_users_until_it_has_ended() {
            let status = |state: &str, users: &str| {
                format!("Name:\tsh\nState:\t{state}\nTgid:\t7\nUid:\t{users}\nGid:\t9\t9\t9\t9\n")
            };
            for (text, expected) in [
                (status("S (sleeping)", "7\t7\t7\t7"), true),
                (status("R (running)", "7\t0\t0\t0"), true),
                (status("S (sleeping)", "0\t7\t0\t0"), true),
                (status("S (sleeping)", "0\t0\t7\t0"), true),
                (status("T (stopped)", "0\t0\t0\t7"), true),
                (status("S (sleeping)", "77\t70\t17\t0"), false),
                (status("Z (zombie)", "7\t7\t7\t7"), false),
                (status("X (dead)", "7\t7\t7\t7"), false),
                (String::new(), false),
            ] {
                assert_eq!(is_of(&text, &UserId::from_raw(7)), expected, "{text}");
            }
        }

        #[test]
        fn this_one_is_left_out_and_its_children_are_not() {
            let mut child = std::process::Command::new("sleep")
                .arg("60")
                .spawn()
                .expect("a child");
            let found = processes_of(&crate::own_user());
            child.kill().expect("a child");
            child.wait().expect("a child");
            assert!(
                found.contains(&child.id()) && !found.contains(&std::process::id()),
                "{found:?}"
            );
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    pub(super) fn processes_of(_: &crate::UserId) -> Vec<u32> {
        Vec::new()
    }
}
