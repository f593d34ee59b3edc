//! The set in force, and a stand-in for sets.

#[allow(dead_code, reason = "the models use a part of it")]
#[path = "../../proxy/src/signing/in_force.rs"]
pub mod in_force;

pub mod credentials {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    /// A set that has a number and nothing else. It gets that when its turn has come.
    #[derive(Clone, Default)]
    pub struct CredentialSet(Arc<AtomicUsize>);

    impl CredentialSet {
        pub fn number(&self) -> usize {
            self.0.load(SeqCst)
        }

        pub fn set_number(&self, number: usize) {
            self.0.store(number, SeqCst);
        }

        pub fn narrowed(&self, _: &[String]) -> Self {
            self.clone()
        }
    }
}
