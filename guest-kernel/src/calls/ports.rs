//! Calls on Ports.

use super::Done;
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::objects::Object;
use crate::thread::Thread;
use protocols::api::{Rights, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::RSI;

impl Kernel {
    pub(super) fn get_port(&mut self, thread: Id<Thread>, caller: Id<Space>, address: u64, portset: u64) -> Done {
        let Object::Port(id) = self.object_at(caller, address, Rights::READ)? else {
            return Err(Misuse::WrongType.into());
        };
        let reference = self.optional_reference(caller, portset)?;
        let Some(port) = self.objects.ports.get(id) else { return Err(Misuse::NoObject.into()) };
        let (alias, portset) = (port.alias, port.portset);
        self.point(reference, portset.map(Object::Portset));
        self.set_result(thread, RSI, alias)
    }

    pub(super) fn check_portset(&mut self, caller: Id<Space>, address: u64, want: Rights) -> Done {
        match self.object_at(caller, address, want)? {
            Object::Portset(_) => Ok(Status::Ok),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    pub(super) fn set_port(&mut self, caller: Id<Space>, address: u64, alias: u64, portset: u64) -> Done {
        let Object::Port(id) = self.object_at(caller, address, Rights::WRITE)? else {
            return Err(Misuse::WrongType.into());
        };
        let portset = match portset {
            0 => None,
            reference => match self.link_of(caller, reference)? {
                Some(Object::Portset(portset)) => Some(portset),
                Some(_) => return Err(Misuse::WrongType.into()),
                None => return Err(Misuse::NullReference.into()),
            },
        };
        self.unpend(id);
        let Some(port) = self.objects.ports.get_mut(id) else { return Ok(Status::Ok) };
        port.alias = alias;
        port.portset = portset.or(port.portset);
        if let Some(line) = port.line {
            crate::arch::apic::unmask_line(line);
        }
        let waiting = port.line_fired || port.notification != 0 || port.clients.first().is_some();
        if waiting {
            self.announce(id);
        }
        Ok(Status::Ok)
    }
}
