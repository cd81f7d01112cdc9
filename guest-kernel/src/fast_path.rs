//! The short way for the two calls that every RPC consists of, a client that calls a server which waits, and a server that
//! replies and waits again; and for [notifying](Kernel::fast_send) a server which waits.
//!
//! It does what [`send_call`](Kernel::send_call), [`reply_and_receive`](Kernel::reply_and_receive) and
//! [`announce`](Kernel::announce) do, where all of this holds: the names were found before, the client's Reference depends
//! on no grant, both threads are native and may run, nobody else is involved, there is no deadline.
//! Everything is checked first; where something does not hold, nothing has changed and the general way is taken. The message
//! goes from register to register: what the receiver's [`Registers`](crate::arch::entry::Registers) hold in its place does
//! not matter, because the receiver runs now.

use crate::arch::entry::{self, Resume};
use crate::arena::Id;
use crate::dispatch::Source;
use crate::ipc::first_word;
use crate::kernel::Kernel;
use crate::thread::{Thread, Wait, set_words};
use protocols::api::{Call, MessageKind, Rights, Status};
use protocols::virtual_cpu::register::{R10, R15, RAX, RDI, RDX, RSI};

impl Kernel {
    /// Performs the running native thread's call if that can be done the short way.
    #[inline(always)]
    pub fn fast_path(&mut self) -> Option<Resume> {
        let id = self.current?;
        let thread = self.objects.threads.get(id)?;
        let (number, name) = (thread.registers.gpr[RAX], thread.registers.gpr[RDI]);
        // What a waiting thread waits in is a system call.
        if number == Call::IpcCall as u64 {
            self.fast_call(id, name)
        } else if number == Call::IpcReplyWaitReceive as u64 {
            self.fast_reply(id, name)
        } else {
            None
        }
    }

    #[inline(always)]
    fn fast_call(&mut self, client_id: Id<Thread>, name: u64) -> Option<Resume> {
        let reference = self.quick_reference(client_id, name)?;
        let objects = &mut self.objects;
        let destination = objects.references.get(reference)?.direct.as_ref()?;
        let port = objects.ports.get(destination.port)?;
        let portset = objects.portsets.get_mut(port.portset?)?;
        let server_id = portset.servers.first()?;
        let (client, server) = objects.threads.pair_mut(client_id, server_id)?;
        if !server.view.exists() || server.stopped {
            return None;
        }
        portset.servers.take_first(server);
        client.wait = Wait::Reply(server_id);
        server.wait = Wait::Nothing;
        server.client = Some(client_id);
        let name = destination.name(port);
        let resume = Resume::with_message(&server.registers, &client.registers, name, MessageKind::Call as u64);
        let (view, context) = (server.view, server.context);
        self.current = Some(server_id);
        self.load_cpu(view, context);
        Some(resume)
    }

    #[inline(always)]
    fn fast_reply(&mut self, server_id: Id<Thread>, name: u64) -> Option<Resume> {
        let portset_id = self.quick_portset(server_id, name)?;
        let objects = &mut self.objects;
        let portset = objects.portsets.get_mut(portset_id)?;
        let client_id = objects.threads.get(server_id)?.client?;
        let (client, server) = objects.threads.pair_mut(client_id, server_id)?;
        if !client.wait.is_call_of(server_id) {
            if server.serves_fault {
                entry::fault_reply(self, client_id, portset_id);
            }
            return None;
        }
        if portset.first_pending.is_some() || server.registers.gpr[R15] != 0 || !client.view.exists() || client.stopped
        {
            return None;
        }
        client.wait = Wait::Nothing;
        server.client = None;
        server.wait = Wait::Message(portset_id);
        server.deadline = 0;
        let (view, context) = (client.view, client.context);
        let gpr = &client.registers.gpr;
        let resume = Resume::with_message(&client.registers, &server.registers, gpr[RDI], gpr[R15]);
        if !portset.servers.put_first(server, server_id) {
            portset.servers.push_back(&mut objects.threads, server_id);
        }
        self.current = Some(client_id);
        self.load_cpu(view, context);
        Some(resume)
    }

    /// The number of the call that the running native thread makes.
    #[inline(always)]
    pub fn number_of_call(&self) -> Option<u64> {
        let thread = self.current.and_then(|id| self.objects.threads.get(id));
        thread.map(|thread| thread.registers.gpr[RAX])
    }

    /// Notifies a server that waits, if that can be done the short way: it runs now, the sender goes on afterwards. Not
    /// with the other two, in which every instruction counts.
    #[inline(always)]
    pub fn fast_send(&mut self) -> Option<Resume> {
        let sender_id = self.current?;
        let name = self.objects.threads.get(sender_id)?.registers.gpr[RDI];
        let reference = self.quick_reference(sender_id, name)?;
        let objects = &mut self.objects;
        let port = objects.notified(objects.references.get(reference)?)?;
        let port = objects.ports.get(port)?;
        let portset = objects.portsets.get_mut(port.portset?)?;
        let server_id = portset.servers.first()?;
        let (sender, server) = objects.threads.pair_mut(sender_id, server_id)?;
        let bits = sender.registers.gpr[RSI];
        // A server that waits has received what there was before.
        if bits == 0 || port.notification != 0 || !server.view.exists() || server.stopped {
            return None;
        }
        // Others than those with time from the root do not run just because they are woken.
        if server.scheduling.source != Source::Root || self.grant.is_donated() || objects.limits != 0 {
            return None;
        }
        portset.servers.take_first(server);
        server.wait = Wait::Nothing;
        set_words(&first_word(bits), server.receiving(port.alias, MessageKind::Notification));
        sender.registers.gpr[RAX] = Status::Ok as u64;
        let (view, context, resume) = (server.view, server.context, Resume::thread(&server.registers));
        self.wake_instead_of(sender_id, server_id);
        self.load_cpu(view, context);
        Some(resume)
    }

    /// Donates to a native thread, or gives the time back to a native donor, if that can be done the short way
    /// ([`dispatch`](crate::dispatch)).
    #[inline(always)]
    pub fn fast_schedule(&mut self) -> Option<Resume> {
        let id = self.current?;
        let name = self.objects.threads.get(id)?.registers.gpr[RDI];
        let next = if name == 0 {
            self.dispatcher().give_back_quickly(id, |donor| donor.view.exists())?
        } else {
            let target = self.quick_thread(id, name, Rights::READ)?;
            let gpr = &self.objects.threads.get(id)?.registers.gpr;
            let plain = gpr[RSI] | gpr[RDX] | gpr[R10] == 0 && self.objects.threads.get(target)?.view.exists();
            (plain && self.dispatcher().donate_quickly(id, target)).then_some(target)?
        };
        let thread = self.objects.threads.get(next)?;
        let (view, context, resume) = (thread.view, thread.context, Resume::thread(&thread.registers));
        self.load_cpu(view, context);
        Some(resume)
    }
}
