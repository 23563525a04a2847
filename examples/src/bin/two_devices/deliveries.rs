//! What reached the remote, as it remembers itself.

/// How often writes arrived, and what that did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deliveries {
    /// Writes that arrived more than once.
    pub(crate) repeated: u64,
    /// Writes that took effect more than once; anything but 0 is a defect.
    pub(crate) repeated_effects: u64,
}
