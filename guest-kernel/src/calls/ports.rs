//! Calls on Ports.

use super::Done;
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::objects::Object;
use crate::thread::Thread;
use protocols::api::{ObjectType, ReferenceRights, Rights, Status};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::{R10, RDX, RSI};

impl Kernel {
    pub(super) fn get_port(&mut self, thread: Id<Thread>, caller: Id<Space>, address: u64, portset: u64) -> Done {
        let Object::Port(id) = self.object_at(caller, address, Rights::READ)? else {
            return Err(Misuse::WrongType.into());
        };
        let reference = self.optional_reference(caller, portset)?;
        let Some(port) = self.objects.ports.get(id) else { return Err(Misuse::NoObject.into()) };
        let (link, results) =
            (port.portset_link, [(RSI, port.alias), (RDX, port.tells.into()), (R10, port.references)]);
        self.point(reference, link);
        for (register, value) in results {
            self.set_result(thread, register, value)?;
        }
        Ok(Status::Ok)
    }

    pub(super) fn check_portset(&mut self, caller: Id<Space>, address: u64, want: Rights) -> Done {
        match self.object_at(caller, address, want)? {
            Object::Portset(_) => Ok(Status::Ok),
            _ => Err(Misuse::WrongType.into()),
        }
    }

    pub(super) fn set_port(&mut self, caller: Id<Space>, address: u64, alias: u64, portset: u64, tells: u64) -> Done {
        let Object::Port(id) = self.object_at(caller, address, Rights::WRITE)? else {
            return Err(Misuse::WrongType.into());
        };
        let portset = self.optional_link(caller, portset, ObjectType::Portset, ReferenceRights::SERVE)?;
        let tells = match tells {
            0 => None,
            1 => Some(true),
            2 => Some(false),
            _ => return Err(Misuse::BadArgument.into()),
        };
        self.unpend(id);
        self.set_link(portset, |objects| Some(&mut objects.ports.get_mut(id)?.portset_link));
        let Some(port) = self.objects.ports.get_mut(id) else { return Ok(Status::Ok) };
        port.alias = alias;
        if let Some(Object::Portset(portset)) = portset.map(|capability| capability.target) {
            port.portset = Some(portset);
        }
        port.tells = tells.unwrap_or(port.tells);
        port.unreferenced &= port.tells;
        if let Some(line) = port.line {
            crate::arch::apic::unmask_line(line);
        }
        if port.has_message() {
            self.announce(id);
        }
        Ok(Status::Ok)
    }
}
