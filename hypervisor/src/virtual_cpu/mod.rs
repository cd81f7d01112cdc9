//! d
use protocols::address::HostPhysical;
use crate::cpu::Cpu;
use crate::world::Next;
pub mod exit { use crate::cpu::Cpu; use crate::world::Next;
 pub(crate) extern "sysv64" fn handle(_: &mut Cpu)->Next {Next::KERNEL}
 pub(crate) extern "sysv64" fn entry_failed(_: &mut Cpu)->Next {Next::KERNEL}
}
#[derive(Debug)]
pub struct VirtualCpu { pub state: HostPhysical, pub policy: HostPhysical }
pub fn run(_: &mut Cpu)->Next {Next::KERNEL}
