//! Whom a server works for, as state of the server: it can be seen, and handed to another thread.

use super::Done;
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::objects::Object;
use crate::references::Capability;
use crate::thread::Thread;
use protocols::api::{ConnectionState, Status};
use zerocopy::IntoBytes;

impl Kernel {
    /// The thread that waits for a reply of `server`.
    fn served_by(&self, server: Id<Thread>) -> Option<Id<Thread>> {
        let client = self.objects.threads.get(server)?.client?;
        self.objects.threads.get(client)?.wait.is_for(server).then_some(client)
    }

    /// `thread_get_connection` of what a server has not replied to.
    pub(super) fn get_served(&mut self, caller: Id<Space>, server: Id<Thread>, state: u64, reference: u64) -> Done {
        let reference = self.optional_reference(caller, reference)?;
        let client = self.served_by(server);
        let line = self.objects.threads.get(server).and_then(|server| server.line);
        let is_served = client.is_some() || line.is_some();
        let exported = ConnectionState { connected: is_served as u64, ..ConnectionState::default() };
        self.write(caller, state, exported.as_bytes())?;
        self.point(reference, client.map(|client| Capability::new(Object::Thread(client))));
        Ok(if is_served { Status::Ok } else { Status::NotFound })
    }

    /// `thread_move_connection` of what a server has not replied to.
    pub(super) fn move_served(&mut self, from: Id<Thread>, to: Id<Thread>) -> Status {
        let client = self.served_by(from);
        let serves = |id| self.objects.threads.get(id).is_some_and(|thread| thread.line.is_some());
        if client.is_none() && !serves(from) {
            return Status::NotFound;
        }
        if client == Some(to) || self.served_by(to).is_some() || serves(to) {
            return Status::Refused;
        }
        let Some((old, new)) = self.objects.threads.pair_mut(from, to) else { return Status::Refused };
        new.line = old.line.take();
        new.client = old.client.take().filter(|_| client.is_some());
        let Some(client) = client else { return Status::Ok };
        // The CPU goes from one to the other only where one runs on the other's time, which does not hold for the new one yet.
        self.dispatcher().serve_by(client, to);
        self.dispatched();
        Status::Ok
    }
}
