//! The N-API surface of taskcluster-proxy: the functions that TypeScript calls.
//!
//! It converts arguments, results and errors, and decides nothing: the rules are in the crates behind
//! it or in `ts/`. Only `ts/native.ts` loads it, and has the types of its functions.

// In a test build, which is linted too, napi registers nothing, so nothing calls the functions.
#![cfg_attr(test, allow(dead_code))]
// napi hands arguments over as owned values.
#![allow(clippy::needless_pass_by_value)]

mod harden;
mod hawk;
mod launcher;
mod memory;
mod output;
mod proxy;

use napi_derive::napi;

/// The version of the workspace this binary was built from.
#[napi]
pub fn version() -> &'static str {
    env!("TASKCLUSTER_PROXY_BUILD_VERSION")
}

/// The git revision this binary was built from; `unknown` for a build outside a checkout.
#[napi]
pub fn revision() -> &'static str {
    env!("TASKCLUSTER_PROXY_BUILD_REVISION")
}

/// Closes this process to debuggers and core dumps; see [`harden`].
#[napi]
pub fn harden_process() -> napi::Result<()> {
    harden::harden_process()
        .map_err(|error| napi::Error::from_reason(format!("cannot harden the process: {error}")))
}
