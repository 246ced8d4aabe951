//! What may be longer than the rule, and why. An exception that nothing needs is an error.

pub(crate) struct Exception {
    /// A path, or a path and a function.
    pub(crate) what: &'static str,
    pub(crate) why: &'static str,
}

pub(crate) const LONG_FILES: &[Exception] = &[];

pub(crate) const LONG_FUNCTIONS: &[Exception] = &[];
