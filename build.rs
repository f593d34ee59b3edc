//! The addon's build script: link arguments for the platform, and the version and git revision
//! that the proxy names in its answers and its `--version`.

use std::{env, path::Path, process::Command};

/// Names the revision where there is no git checkout (a source archive, a packager's build).
const REVISION_VARIABLE: &str = "TASKCLUSTER_PROXY_REVISION";

fn main() {
    napi_build::setup();

    println!(
        "cargo::rustc-env=TASKCLUSTER_PROXY_BUILD_VERSION={}",
        env!("CARGO_PKG_VERSION")
    );
    println!(
        "cargo::rustc-env=TASKCLUSTER_PROXY_BUILD_REVISION={}",
        revision()
    );

    println!("cargo::rerun-if-changed=../../build.rs");
    println!("cargo::rerun-if-env-changed={REVISION_VARIABLE}");
    // Only files that exist may be named: cargo runs the script on every build for one that is
    // missing.
    for file in git_state() {
        println!("cargo::rerun-if-changed={file}");
    }
}

fn revision() -> String {
    env::var(REVISION_VARIABLE)
        .ok()
        .filter(|revision| !revision.is_empty())
        .or_else(checked_out)
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The commit of this checkout; of no other that the source happens to lie in.
fn checked_out() -> Option<String> {
    git(&["rev-parse", "--show-prefix"]).filter(|prefix| prefix == "crates/addon/")?;
    git(&["rev-parse", "HEAD"])
}

/// The files that change when HEAD moves: HEAD itself, the branch it names, and the packed
/// references, where the branch is found once its own file is gone.
fn git_state() -> Vec<String> {
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    ["HEAD", "packed-refs"]
        .into_iter()
        .map(str::to_owned)
        .chain(branch)
        .filter_map(|name| git(&["rev-parse", "--git-path", &name]))
        .filter(|path| Path::new(path).exists())
        .collect()
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
