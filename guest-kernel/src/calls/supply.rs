//! Replies to memory faults that supply the memory: what `mapping_set_state` and `mapping_protect` do, done with the reply.

use super::Stop;
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::thread::Thread;
use protocols::api::{MappingState, MessageKind, Rights, Status};
use protocols::exception::{MESSAGE_WORDS, memory_reply};

impl Kernel {
    /// Does what a server's reply, to a thread that waits for memory, says beside that the thread can go on. An error ends
    /// the server's call, before it has replied.
    pub(super) fn supply(&mut self, server: Id<Thread>) -> Result<(), Stop> {
        let supplies = self.supplies(server);
        if let Some(server) = self.objects.threads.get_mut(server) {
            server.serves_fault = supplies.is_some();
        }
        let Some((words, caller)) = supplies else { return Ok(()) };
        let [action, mapping, offset, start, size, rights, ..] = words;
        let mapping = self.mapping_at(caller, mapping, Rights::WRITE)?;
        let status = if action == memory_reply::PROTECT {
            self.protect_mapping(mapping, rights)?
        } else {
            self.place_mapping(mapping, &MappingState { offset, start, size, rights })?
        };
        if status == Status::Ok { Ok(()) } else { Err(Stop::Status(status)) }
    }

    /// The words of a server's reply, and its Space, if the reply supplies a thread that waits for memory.
    fn supplies(&self, server_id: Id<Thread>) -> Option<([u64; MESSAGE_WORDS], Id<Space>)> {
        let server = self.objects.threads.get(server_id)?;
        let client = self.objects.threads.get(server.client?)?;
        if client.sending != MessageKind::MemoryFault || !client.wait.is_for(server_id) {
            return None;
        }
        let words = server.words();
        matches!(words[0], memory_reply::MAP | memory_reply::PROTECT).then_some((words, server.space?))
    }
}
