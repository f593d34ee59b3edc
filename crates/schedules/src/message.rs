//! A stand-in for messages.

pub mod strict_body {
    use std::marker::PhantomData;

    /// Names the body that the models have none of.
    pub struct StrictBody<B>(PhantomData<B>);
}
