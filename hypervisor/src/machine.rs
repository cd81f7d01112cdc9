//! d
use protocols::address::HostPhysical;
#[derive(Debug)]
pub struct Machine {}
#[derive(Debug)]
pub struct PolicyFrame(HostPhysical);
impl PolicyFrame { pub fn address(&self)->HostPhysical{self.0} }
#[derive(Debug)]
pub struct BitmapFrame(HostPhysical);
impl BitmapFrame { pub fn address(&self)->HostPhysical{self.0} }
