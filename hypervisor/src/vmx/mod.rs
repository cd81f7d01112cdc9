//! VT-x: instructions, VMCS fields, controls, the processor's support, the host's state.

pub mod controls;
pub mod field;
pub mod host;
pub mod instruction;
pub mod support;
