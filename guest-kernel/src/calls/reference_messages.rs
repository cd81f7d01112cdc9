//! Messages with References.
//!
//! Names are followed when the call is made, by whoever made it, so that mistakes and faults are the caller's own. What is sent
//! is what the Reference holds when the message is received: nothing is on its way, and nothing of that kind has to be counted.

use super::Stop;
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::references::{Capability, Reference};
use crate::thread::{Thread, Wait};
use protocols::api::{ReferenceRights, Rights, Status, WITH_REFERENCE};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::{R15, RBP, RBX};

type Waits = Result<Option<Status>, Stop>;

impl Kernel {
    /// Checks the Reference that a call sends.
    fn sent_reference(&mut self, id: Id<Thread>, caller: Id<Space>) -> Result<Option<Id<Reference>>, Stop> {
        let address = self.objects.threads.get(id).map_or(0, |thread| thread.gpr()[RBX]);
        if address == 0 {
            return Ok(None);
        }
        let reference = self.reference_at(caller, address, Rights::READ)?;
        let capability = self.objects.references.get(reference).and_then(Reference::capability);
        match capability.ok_or(Misuse::NullReference)?.rights.contains(ReferenceRights::COPY) {
            true => Ok(Some(reference)),
            false => Err(Misuse::NoRight.into()),
        }
    }

    /// Checks the Reference that takes what a call receives.
    fn taking_reference(&mut self, id: Id<Thread>, caller: Id<Space>) -> Result<Option<Id<Reference>>, Stop> {
        match self.objects.threads.get(id).map_or(0, |thread| thread.gpr()[RBP]) {
            0 => Ok(None),
            address => self.reference_at(caller, address, Rights::WRITE).map(Some),
        }
    }

    /// `ipc_call_with_reference`.
    pub(super) fn call_with_reference(&mut self, id: Id<Thread>, caller: Id<Space>, address: u64) -> Waits {
        let destination = self.destination_of(caller, address, ReferenceRights::CALL)?;
        let (sent, taking) = (self.sent_reference(id, caller)?, self.taking_reference(id, caller)?);
        if let Some(thread) = self.objects.threads.get_mut(id) {
            (thread.sent, thread.taking) = (sent, taking);
            // Whoever replies without a Reference leaves it alone.
            thread.gpr_mut()[R15] = 0;
        }
        let portset = self.objects.ports.get(destination.port).and_then(|port| port.portset);
        let server = portset.and_then(|portset| self.objects.portsets.get(portset)?.servers.first());
        let taken = server.and_then(|server| self.objects.threads.get(server)?.takes());
        if !self.send_call(id, destination) {
            return Ok(Some(Status::InvalidDestination));
        }
        if let Some(Wait::Reply(server)) = self.objects.threads.get(id).map(|thread| thread.wait) {
            self.send_reference(sent.zip(taken), server);
        }
        Ok(None)
    }

    /// `ipc_reply_with_reference`.
    pub(super) fn reply_with_reference(&mut self, id: Id<Thread>, caller: Id<Space>) -> Waits {
        let sent = self.sent_reference(id, caller)?;
        self.supply(id)?;
        match self.reply_sending(id, sent) {
            Ok(client) => {
                client.into_iter().for_each(|client| self.make_ready(client));
                Ok(Some(Status::Ok))
            }
            Err(status) => Ok(Some(status)),
        }
    }

    /// `ipc_wait_receive_with_reference`.
    pub(super) fn receive_with_reference(&mut self, id: Id<Thread>, caller: Id<Space>, portset: u64) -> Waits {
        let portset = self.portset_at(id, portset)?;
        let taking = self.taking_reference(id, caller)?;
        self.abandon_client(id);
        self.receive_taking(id, portset, taking);
        Ok(None)
    }

    /// `ipc_reply_wait_receive_with_reference`.
    pub(super) fn reply_and_receive_with_reference(
        &mut self,
        id: Id<Thread>,
        caller: Id<Space>,
        portset: u64,
    ) -> Waits {
        let portset = self.portset_at(id, portset)?;
        let (sent, taking) = (self.sent_reference(id, caller)?, self.taking_reference(id, caller)?);
        self.supply(id)?;
        let client = self.reply_sending(id, sent).ok().flatten();
        self.receive_taking(id, portset, taking);
        self.run_replied(client);
        Ok(None)
    }

    fn receive_taking(&mut self, id: Id<Thread>, portset: Id<crate::objects::Portset>, taking: Option<Id<Reference>>) {
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.taking = taking;
        }
        self.receive(id, portset);
    }

    /// Replies, with a Reference if the client waits for the reply to a call that takes one.
    fn reply_sending(&mut self, server: Id<Thread>, sent: Option<Id<Reference>>) -> Result<Option<Id<Thread>>, Status> {
        let client = self.objects.threads.get(server).and_then(|server| server.client);
        let taken = client.and_then(|client| self.objects.threads.get(client)?.takes_from(server));
        let next = self.reply(server)?;
        // Whether the CPU goes to it or not.
        if let Some(client) = client {
            self.send_reference(sent.zip(taken), client);
        }
        Ok(next)
    }

    /// Copies a Reference, the first of the two, to another, and lets the thread that has received it know.
    pub fn send_reference(&mut self, references: Option<(Id<Reference>, Id<Reference>)>, receiver: Id<Thread>) {
        let Some((from, to)) = references else { return };
        let capability = self.objects.references.get(from).and_then(Reference::capability);
        let capability = capability.filter(|capability| {
            capability.rights.contains(ReferenceRights::COPY) && self.objects.is_valid(capability)
        });
        let (Some(capability), true) = (capability, self.objects.references.get(to).is_some()) else { return };
        self.objects.set_reference(to, Some(Capability::copy(capability)));
        if let Some(receiver) = self.objects.threads.get_mut(receiver) {
            receiver.gpr_mut()[R15] |= WITH_REFERENCE;
        }
    }
}
