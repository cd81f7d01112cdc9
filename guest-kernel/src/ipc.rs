//! IPC: clients meet servers at Ports, threads hand each other the CPU.
//!
//! The kernel sends messages itself: exceptions on behalf of threads, interrupts of lines. They travel as calls do.

use crate::arch::{apic, cpu};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::objects::{Port, Portset};
use crate::thread::{Client, Thread, Wait};
use protocols::api::{MessageKind, Status};
use protocols::exception::MESSAGE_WORDS;

impl Kernel {
    /// Sends what `client` has to send to a Port, and lets it wait for the reply. The server runs at once if it is waiting.
    /// False if there is no such Port.
    #[inline(always)]
    pub fn send(&mut self, client: Id<Thread>, id: Id<Port>, kind: MessageKind) -> bool {
        let Some(port) = self.objects.ports.get_mut(id) else { return false };
        let (alias, portset) = (port.alias, port.portset);
        let Some(thread) = self.objects.threads.get_mut(client) else { return true };
        thread.sending = kind;
        let words = thread.outgoing();
        let server = match portset.and_then(|id| self.objects.portsets.get_mut(id)) {
            Some(portset) => portset.servers.pop_front(&mut self.objects.threads),
            None => None,
        };
        match server.and_then(|id| self.objects.threads.get_mut(id).map(|server| (id, server))) {
            Some((server_id, server)) => {
                server.receive(alias, kind, &words);
                server.wait = Wait::Nothing;
                server.client = Client::Thread(client);
                let can_run = !server.stopped;
                if let Some(thread) = self.objects.threads.get_mut(client) {
                    thread.wait = Wait::Reply(server_id);
                }
                if self.current == Some(client) {
                    self.current = can_run.then_some(server_id);
                } else {
                    self.make_ready(server_id);
                }
            }
            None => {
                if let Some(thread) = self.objects.threads.get_mut(client) {
                    thread.wait = Wait::Server(id);
                }
                if let Some(port) = self.objects.ports.get_mut(id) {
                    port.clients.push_back(&mut self.objects.threads, client);
                }
                if self.current == Some(client) {
                    self.current = None;
                }
                self.pend(id);
            }
        }
        true
    }

    /// A Port has something for its servers: wakes one, or notes the Port for the next that asks.
    pub fn announce(&mut self, id: Id<Port>) {
        let Some(port) = self.objects.ports.get(id) else { return };
        let Some(portset_id) = port.portset else { return };
        let Some(portset) = self.objects.portsets.get_mut(portset_id) else { return };
        let server = portset.servers.pop_front(&mut self.objects.threads);
        self.pend(id);
        if let Some(server) = server {
            if let Some(thread) = self.objects.threads.get_mut(server) {
                thread.wait = Wait::Nothing;
            }
            if self.take_message(server, portset_id) {
                self.wake(server);
            }
        }
    }

    /// Notes that a Port has something.
    fn pend(&mut self, id: Id<Port>) {
        let Some(port) = self.objects.ports.get_mut(id) else { return };
        let Some(portset) = port.portset.and_then(|id| self.objects.portsets.get_mut(id)) else { return };
        if port.is_pending {
            return;
        }
        port.is_pending = true;
        port.next_pending = None;
        let last = portset.last_pending.replace(id);
        match last.and_then(|last| self.objects.ports.get_mut(last)) {
            Some(last) => last.next_pending = Some(id),
            None => portset.first_pending = Some(id),
        }
    }

    /// Gives `server` the next message of a Portset. False if there is none.
    #[inline(never)]
    fn take_message(&mut self, server: Id<Thread>, portset_id: Id<Portset>) -> bool {
        while let Some(portset) = self.objects.portsets.get_mut(portset_id) {
            let Some(id) = portset.first_pending else { return false };
            let next = self.objects.ports.get(id).and_then(|port| port.next_pending);
            portset.first_pending = next;
            if next.is_none() {
                portset.last_pending = None;
            }
            let Some(port) = self.objects.ports.get_mut(id) else { continue };
            port.is_pending = false;
            if port.portset == Some(portset_id) && self.take_message_of(server, id) {
                return true;
            }
        }
        false
    }

    fn take_message_of(&mut self, server: Id<Thread>, id: Id<Port>) -> bool {
        let Some(port) = self.objects.ports.get_mut(id) else { return false };
        let alias = port.alias;
        let mut words = [0; MESSAGE_WORDS];
        let (kind, client) = if port.line_fired {
            port.line_fired = false;
            let line = port.line.unwrap_or(0);
            words[0] = line as u64;
            (MessageKind::Interrupt, Client::Line(line))
        } else if port.notification != 0 {
            words[0] = core::mem::take(&mut port.notification);
            (MessageKind::Notification, Client::Nobody)
        } else if let Some(client) = port.clients.pop_front(&mut self.objects.threads) {
            let Some(thread) = self.objects.threads.get_mut(client) else { return false };
            thread.wait = Wait::Reply(server);
            words = thread.outgoing();
            (thread.sending, Client::Thread(client))
        } else {
            return false;
        };
        let more = port.line_fired || port.notification != 0 || port.clients.first().is_some();
        if let Some(thread) = self.objects.threads.get_mut(server) {
            thread.client = client;
            thread.receive(alias, kind, &words);
        }
        if more {
            self.pend(id);
        }
        true
    }

    /// `ipc_wait_receive`: the next message, or waiting for it.
    #[inline(always)]
    pub fn receive(&mut self, server: Id<Thread>, portset_id: Id<Portset>, deadline: u64) {
        if self.objects.threads.get(server).is_some_and(|thread| thread.client != Client::Nobody) {
            self.abandon_client(server);
        }
        if self.objects.portsets.get(portset_id).is_some_and(|portset| portset.first_pending.is_some())
            && self.take_message(server, portset_id)
        {
            return;
        }
        let Some(thread) = self.objects.threads.get_mut(server) else { return };
        if deadline != 0 && deadline <= cpu::time() {
            return thread.finish(Status::TimedOut as u64);
        }
        thread.wait = Wait::Message(portset_id);
        thread.deadline = deadline;
        let timed = thread.timed;
        if let Some(portset) = self.objects.portsets.get_mut(portset_id) {
            portset.servers.push_back(&mut self.objects.threads, server);
        }
        if deadline != 0 {
            self.set_deadline(server, deadline, timed);
        }
        if self.current == Some(server) {
            self.current = None;
        }
    }

    /// `ipc_reply`: gives the words in the server's registers to its client. Returns the client if it can go on now.
    #[inline(always)]
    pub fn reply(&mut self, server: Id<Thread>) -> Result<Option<Id<Thread>>, Status> {
        let Some(thread) = self.objects.threads.get_mut(server) else { return Err(Status::Disconnected) };
        let words = thread.words();
        match core::mem::take(&mut thread.client) {
            Client::Nobody => Err(Status::Disconnected),
            Client::Line(line) => {
                apic::unmask_line(line);
                Ok(None)
            }
            Client::Thread(id) => {
                let Some(client) = self.objects.threads.get_mut(id) else { return Err(Status::Disconnected) };
                if client.wait != Wait::Reply(server) {
                    return Err(Status::Disconnected);
                }
                client.wait = Wait::Nothing;
                match client.sending {
                    MessageKind::Call => {
                        client.answer(&words, Status::Ok as u64, |_| ());
                        Ok(Some(id))
                    }
                    _ => Ok(self.keeper_replied(id, &words).then_some(id)),
                }
            }
        }
    }

    /// Ends the call of whoever a server has not replied to.
    #[cold]
    pub fn abandon_client(&mut self, server: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(server) else { return };
        match core::mem::take(&mut thread.client) {
            Client::Nobody => {}
            Client::Line(line) => apic::unmask_line(line),
            Client::Thread(id) => {
                if self.objects.threads.get(id).is_some_and(|client| client.wait == Wait::Reply(server)) {
                    self.fail_client(id);
                }
            }
        }
    }

    /// Ends a client's call because nobody will reply: a caller learns of it, a thread that needed its keeper stops.
    pub fn fail_client(&mut self, id: Id<Thread>) {
        let Some(client) = self.objects.threads.get_mut(id) else { return };
        client.wait = Wait::Nothing;
        if client.sending == MessageKind::Call {
            client.finish(Status::InvalidDestination as u64);
            self.make_ready(id);
        } else {
            client.stopped = true;
            log::warn!("thread {id:?} stopped: its keeper does not answer");
        }
    }

    /// Takes a thread out of whatever it waits in. It waits for nothing then.
    pub fn stop_waiting(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(id) else { return };
        match core::mem::replace(&mut thread.wait, Wait::Nothing) {
            Wait::Message(portset) => {
                if let Some(portset) = self.objects.portsets.get_mut(portset) {
                    portset.servers.remove(&mut self.objects.threads, id);
                }
            }
            Wait::Server(port) => {
                if let Some(port) = self.objects.ports.get_mut(port) {
                    port.clients.remove(&mut self.objects.threads, id);
                }
            }
            Wait::Reply(_) | Wait::Interrupt | Wait::Nothing => {}
        }
    }
}
