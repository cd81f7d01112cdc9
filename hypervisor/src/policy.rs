//! d
#[derive(Debug)]
pub struct Policy {}
