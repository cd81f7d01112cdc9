//! The low-level API: from registers to operations and back.
//!
//! Each call checks everything first and changes something only then. What it returns says who is to blame: a status
//! for what correct programs meet, [`Stop`] for misuse and for faults in the caller's own memory.

mod common;
mod conditions;
mod connections;
mod copied_pages;
mod memory_objects;
mod mutexes;
mod names;
mod own_thread;
mod ports;
mod reference_messages;
mod references;
mod scheduling;
mod served;
mod spaces;
mod supply;
mod threads;
mod tracking;
mod transfer;
mod user_memory;

use crate::arena::Id;
use crate::fault::Unresolved;
use crate::kernel::Kernel;
use crate::thread::Thread;
use protocols::api::{Call, ObjectType, Quotas, ReferenceRights, Rights, SpaceKind, Status};
use protocols::exception::Misuse;
use protocols::native_thread::Exceptions;
use protocols::virtual_cpu::register::{R8, R9, R10, RAX, RDI, RDX, RSI};
use zerocopy::{IntoBytes, TryFromBytes};

/// Why a call does not do what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The caller misused the API.
    Misuse(Misuse),
    /// The caller's memory is not there.
    Memory(Unresolved, u64, Rights),
    /// It returns at once, with a status that says why nothing was done.
    Status(Status),
}

impl From<Misuse> for Stop {
    fn from(misuse: Misuse) -> Self {
        Self::Misuse(misuse)
    }
}

type Done = Result<Status, Stop>;

impl Kernel {
    /// Performs the call that a thread's registers say.
    #[inline(never)]
    pub fn call(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get(id) else { return };
        let number = thread.gpr()[RAX];
        match self.perform(id, number) {
            Ok(Some(status)) | Err(Stop::Status(status)) => {
                if let Some(thread) = self.objects.threads.get_mut(id) {
                    thread.finish(status as u64);
                }
            }
            Ok(None) => {}
            Err(Stop::Misuse(misuse)) => self.misuse(id, misuse, number),
            Err(Stop::Memory(unresolved, address, want)) => {
                if let Some(thread) = self.objects.threads.get_mut(id) {
                    thread.repeat_call();
                }
                self.unresolved(id, unresolved, address, want);
            }
        }
        if self.objects.first_unreferenced.is_some() {
            self.tell_unreferenced();
        }
    }

    /// Has a thread make its call again: what there is to do is not done yet.
    pub(crate) fn repeat(&mut self, thread: Id<Thread>) -> Option<Status> {
        if let Some(thread) = self.objects.threads.get_mut(thread) {
            thread.repeat_call();
        }
        None
    }

    /// Tells the servers that a call has left without References. Only at its end: they may run instead of the caller.
    #[cold]
    #[inline(never)]
    fn tell_unreferenced(&mut self) {
        while let Some(port) = self.objects.take_unreferenced() {
            self.announce(port);
        }
    }

    /// Performs a call. `None`: the thread's registers say already what it returns, or it waits.
    fn perform(&mut self, id: Id<Thread>, number: u64) -> Result<Option<Status>, Stop> {
        let call = Call::try_read_from_bytes(number.as_bytes()).map_err(|_| Misuse::UnknownCall)?;
        let thread = self.objects.threads.get(id).ok_or(Misuse::NoObject)?;
        let caller = thread.space.ok_or(Misuse::NoObject)?;
        let gpr = thread.gpr();
        let [a, b, c, d, e, f] = [gpr[RDI], gpr[RSI], gpr[RDX], gpr[R10], gpr[R8], gpr[R9]];
        let done = match call {
            Call::MutexLock => return self.lock_mutex(id, caller, a),
            Call::MutexTrylock => self.try_mutex(id, caller, a),
            Call::MutexUnlock => self.unlock_mutex(id, caller, a),
            Call::CondWait => return self.wait_in_condition(id, caller, [a, b, c]),
            Call::CondSignal => self.signal_condition(caller, a),
            Call::CondBroadcast => return self.broadcast_condition(id, caller, a),
            Call::MutexCreate => self.create_object(caller, a, ObjectType::Mutex),
            Call::CondCreate => self.create_object(caller, a, ObjectType::Cond),
            Call::MutexDestroy => return self.destroy_at(id, caller, a, ObjectType::Mutex),
            Call::CondDestroy => return self.destroy_at(id, caller, a, ObjectType::Cond),
            Call::MutexReference => self.refer(caller, a, ObjectType::Mutex, b),
            Call::CondReference => self.refer(caller, a, ObjectType::Cond, b),
            Call::MappingReference => self.refer(caller, a, ObjectType::Mapping, b),
            Call::MutexMove
            | Call::CondMove
            | Call::MappingMove
            | Call::RegionMove
            | Call::PortMove
            | Call::PortsetMove
            | Call::SpaceMove
            | Call::ThreadMove
            | Call::ReferenceMove => {
                let kind = number >> 4;
                let kind = ObjectType::try_read_from_bytes(kind.as_bytes()).map_err(|_| Misuse::UnknownCall)?;
                self.move_object(caller, a, b, kind)
            }
            Call::MutexGetState => self.get_mutex(caller, a, b),
            Call::MutexSetState => self.set_mutex(caller, a, b),
            Call::CondGetState => self.condition_at(caller, a, Rights::READ).map(|_| Status::Ok),
            Call::CondSetState => self.condition_at(caller, a, Rights::WRITE).map(|_| Status::Ok),
            Call::PortsetGetState => self.check_portset(caller, a, Rights::READ),
            Call::PortsetSetState => self.check_portset(caller, a, Rights::WRITE),
            Call::MappingGetState => self.get_mapping(caller, [a, b, c, d, e]),
            Call::RegionGetState => self.get_region(id, caller, [a, b, c, d]),
            Call::PortGetState => self.get_port(id, caller, a, c),
            Call::MappingCreate => self.create_object(caller, a, ObjectType::Mapping),
            Call::RegionCreate => self.create_object(caller, a, ObjectType::Region),
            Call::PortCreate => self.create_object(caller, a, ObjectType::Port),
            Call::PortsetCreate => self.create_object(caller, a, ObjectType::Portset),
            Call::ReferenceCreate => self.create_object(caller, a, ObjectType::Reference),
            Call::ThreadCreate => self.create_object(caller, a, ObjectType::Thread),
            Call::SpaceCreate => {
                let kind = SpaceKind::try_read_from_bytes(b.as_bytes()).map_err(|_| Misuse::BadArgument)?;
                if e > Quotas::WHOLE_CPU {
                    return Err(Misuse::BadArgument.into());
                }
                self.create_space(caller, a, kind, Quotas { frames: c, objects: d, cpu: e })
            }
            Call::MappingDestroy => return self.destroy_at(id, caller, a, ObjectType::Mapping),
            Call::RegionDestroy => return self.destroy_at(id, caller, a, ObjectType::Region),
            Call::PortDestroy => return self.destroy_at(id, caller, a, ObjectType::Port),
            Call::PortsetDestroy => return self.destroy_at(id, caller, a, ObjectType::Portset),
            Call::ReferenceDestroy => return self.destroy_at(id, caller, a, ObjectType::Reference),
            Call::ThreadDestroy => return self.destroy_at(id, caller, a, ObjectType::Thread),
            Call::SpaceDestroy => return self.destroy_at(id, caller, a, ObjectType::Space),
            Call::RegionReference => self.refer(caller, a, ObjectType::Region, b),
            Call::PortReference => self.refer(caller, a, ObjectType::Port, b),
            Call::PortsetReference => self.refer(caller, a, ObjectType::Portset, b),
            Call::SpaceReference => self.refer(caller, a, ObjectType::Space, b),
            Call::ThreadReference => self.refer(caller, a, ObjectType::Thread, b),
            Call::ReferenceCopy => self.copy_reference(caller, a, b),
            Call::ReferenceCheck => self.check_reference(id, caller, a),
            Call::ReferenceRestrict => self.restrict_reference(caller, [a, b, c, d]),
            Call::ReferenceGrant => self.grant_reference(caller, a, b),
            Call::ReferenceRevoke => return self.revoke_reference(id, caller, a),
            Call::MappingSetState => self.set_mapping(caller, [a, b, c, d, e]),
            Call::MappingProtect => self.protect_mapping_at(caller, a, b),
            Call::MappingGetCopied => self.get_copied(id, caller, [a, b, c, d]),
            Call::MappingSetCopied => self.set_copied(caller, [a, b, c, d]),
            Call::RegionSetState => self.set_region(caller, a, b, c, d),
            Call::RegionProtect => self.protect_region(caller, a, b),
            Call::RegionSearch => return self.search_region(id, caller, a, b),
            Call::RegionTrack => self.track_region(caller, a, b),
            Call::RegionGetDirty => return self.get_dirty(id, caller, [a, b, c, d, e]),
            Call::RegionSetDirty => return self.set_dirty(id, caller, [a, b, c]),
            Call::PortSetState => self.set_port(caller, a, b, c, d),
            Call::SpaceGetState => self.get_space(id, caller, [a, b, c]),
            Call::SpaceSetState => self.set_space(caller, a, b, c),
            Call::SpaceSetQuotas => self.set_quotas(caller, [a, b, c, d]),
            Call::SpaceSetPolicy => self.set_space_policy(caller, a, b, c, d),
            Call::ThreadGetState => self.get_thread(id, caller, [a, b, c, d, e]),
            Call::ThreadSetState => self.set_thread(id, caller, [a, b, c, d, e, f]),
            Call::ThreadInterrupt => {
                let target = self.thread_at(caller, a, Rights::READ)?;
                if b != 0 && !Exceptions::is_interrupt(b) {
                    return Err(Misuse::BadArgument.into());
                }
                self.interrupt_thread(id, target, b)?;
                return Ok(None);
            }
            Call::ThreadSetExceptions
            | Call::ThreadSetHandlers
            | Call::ThreadReturnFromException
            | Call::ThreadGetSaved
            | Call::ThreadSetSaved
            | Call::ThreadRedirect => return self.call_on_itself(id, call, [a, b, c, d, e]),
            Call::IpcSend => {
                let port = self.destination_of(caller, a, ReferenceRights::SEND)?.port;
                match self.objects.ports.get_mut(port) {
                    // Nothing to be announced: whoever was woken would find nothing.
                    Some(_) if b == 0 => return Ok(Some(Status::Ok)),
                    Some(port) => port.notification |= b,
                    None => return Ok(Some(Status::InvalidDestination)),
                }
                // The caller's own result must stand in its registers before somebody else may run.
                if let Some(thread) = self.objects.threads.get_mut(id) {
                    thread.finish(Status::Ok as u64);
                }
                self.announce(port);
                Ok(Status::Ok)
            }
            Call::IpcCall => {
                let destination = self.destination_of(caller, a, ReferenceRights::CALL)?;
                if self.send_call(id, destination) {
                    return Ok(None);
                }
                Ok(Status::InvalidDestination)
            }
            Call::IpcReply => match self.supply(id).map(|()| self.reply(id))? {
                Ok(client) => {
                    client.into_iter().for_each(|client| self.make_ready(client));
                    // Its own result must stand in its registers before somebody else may run.
                    if let Some(thread) = self.objects.threads.get_mut(id) {
                        thread.finish(Status::Ok as u64);
                    }
                    self.check_running();
                    Ok(Status::Ok)
                }
                Err(status) => Ok(status),
            },
            Call::IpcWaitReceive => {
                let portset = self.portset_at(id, a)?;
                self.abandon_client(id);
                self.receive(id, portset);
                self.check_running();
                return Ok(None);
            }
            Call::IpcReplyWaitReceive => {
                let portset = self.portset_at(id, a)?;
                self.supply(id)?;
                self.reply_and_receive(id, portset);
                return Ok(None);
            }
            Call::ThreadGetConnection => self.get_connection(caller, a, b, c, d),
            Call::ThreadMoveConnection => self.move_connection(caller, a, b, c),
            Call::ThreadConnect => self.connect_threads(caller, a, b, c, d),
            Call::IpcCallWithReference => return self.call_with_reference(id, caller, a),
            Call::IpcReplyWithReference => return self.reply_with_reference(id, caller),
            Call::IpcWaitReceiveWithReference => return self.receive_with_reference(id, caller, a),
            Call::IpcReplyWaitReceiveWithReference => return self.reply_and_receive_with_reference(id, caller, a),
            Call::ThreadSchedule => return self.schedule(id, caller, [a, b, c, d]),
            Call::ThreadSetScheduler => self.set_scheduler(id, caller, [a, b, c]),
            Call::ThreadGetScheduler => self.get_scheduler(id, caller, a, b),
            // Answered at the entry, through either door.
            Call::ThreadSelf => return Err(Misuse::UnknownCall.into()),
            _ => return self.connection_call(id, number),
        };
        done.map(Some)
    }

    fn set_result(&mut self, id: Id<Thread>, register: usize, value: u64) -> Done {
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.gpr_mut()[register] = value;
        }
        Ok(Status::Ok)
    }
}
