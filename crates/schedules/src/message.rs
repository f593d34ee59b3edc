//! A stand-in for messages.

pub mod whole {
    use std::marker::PhantomData;

    /// Names the body that the models have none of.
    pub struct Whole<B>(PhantomData<B>);
}
