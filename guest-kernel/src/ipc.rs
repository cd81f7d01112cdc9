//! IPC: clients meet servers at Ports, threads hand each other the CPU.
//!
//! The kernel sends messages itself: exceptions on behalf of threads, interrupts of lines. They travel as calls do.

use crate::arch::{apic, cpu};
use crate::arena::Id;
use crate::dispatch::{End, Queued, Source};
use crate::kernel::Kernel;
use crate::objects::{Port, Portset};
use crate::references::Destination;
use crate::thread::{Thread, Wait, copy_words, set_words};
use protocols::api::{MessageKind, Side, Status};
use protocols::exception::MESSAGE_WORDS;

/// A message of one word.
pub const fn first_word(word: u64) -> [u64; MESSAGE_WORDS] {
    [word, 0, 0, 0, 0, 0, 0, 0]
}

impl Kernel {
    /// Sends the call in the registers of `client` to a Port, and lets it wait for the reply. A server that is waiting gets
    /// the CPU from the client at once. False if there is no such Port.
    pub fn send_call(&mut self, client: Id<Thread>, destination: Destination) -> bool {
        self.send(client, destination, MessageKind::Call, |client, server| copy_words(client.gpr(), server), |_| {})
    }

    /// Sends a message of the kernel's on behalf of `client`, as [`send_call`](Self::send_call) does.
    #[inline(always)]
    pub fn send_message(
        &mut self,
        client: Id<Thread>,
        destination: Destination,
        kind: MessageKind,
        message: [u64; MESSAGE_WORDS],
    ) -> bool {
        self.send(client, destination, kind, |_, server| set_words(&message, server), |client| client.message = message)
    }

    /// Sends to a Port: with `deliver` to a server's registers, or else with `keep` until there is a server.
    #[inline(always)]
    fn send(
        &mut self,
        client_id: Id<Thread>,
        destination: Destination,
        kind: MessageKind,
        deliver: impl FnOnce(&Thread, &mut [u64; 16]),
        keep: impl FnOnce(&mut Thread),
    ) -> bool {
        let objects = &mut self.objects;
        let Some(port) = objects.ports.get(destination.port) else { return false };
        let alias = destination.name(port);
        let portset = port.portset.and_then(|id| objects.portsets.get_mut(id));
        let server_id = portset.as_ref().and_then(|portset| portset.servers.first());
        let pair = server_id.and_then(|id| Some((id, objects.threads.pair_mut(client_id, id)?)));
        let (Some((server_id, (client, server))), Some(portset)) = (pair, portset) else {
            if let Some(client) = objects.threads.get_mut(client_id) {
                keep(client);
            }
            self.wait_for_server(client_id, destination.port, destination.badge, kind);
            return true;
        };
        portset.servers.take_first(server);
        client.sending = kind;
        client.wait = Wait::for_reply(kind, server_id);
        deliver(client, server.receiving(alias, kind));
        server.wait = Wait::Nothing;
        server.client = Some(client_id);
        if kind == MessageKind::MemoryFault {
            server.serves_fault = true;
        }
        if self.current == Some(client_id) {
            self.current = (!server.stopped).then_some(server_id);
        } else {
            self.make_ready_apart(client_id, server_id);
        }
        true
    }

    /// Makes a server ready that does not run on the time of its client, who may have none.
    #[cold]
    fn make_ready_apart(&mut self, client: Id<Thread>, server: Id<Thread>) {
        if let Some(client) = self.objects.threads.get_mut(client) {
            client.detach();
        }
        self.make_ready(server);
    }

    /// Lets a client wait until a server receives from the Port.
    #[inline(never)]
    pub fn wait_for_server(&mut self, client: Id<Thread>, port_id: Id<Port>, badge: u64, kind: MessageKind) {
        if let Some(thread) = self.objects.threads.get_mut(client) {
            thread.sending = kind;
            thread.badge = badge;
            thread.wait = Wait::Server(port_id);
        }
        if let Some(port) = self.objects.ports.get_mut(port_id) {
            port.clients.push_back(&mut self.objects.threads, client);
        }
        if self.current == Some(client) {
            self.current = None;
        }
        // There is no server that waits for nothing but a message.
        self.announce(port_id);
    }

    /// A Port has something for its servers: wakes one, or notes the Port for the next that asks.
    pub fn announce(&mut self, id: Id<Port>) {
        self.announce_to_one(id);
        self.ask_for_time();
    }

    /// [`announce`](Self::announce), of whose consequences the caller takes care.
    pub(crate) fn announce_to_one(&mut self, id: Id<Port>) {
        let Some(port) = self.objects.ports.get(id) else { return };
        let Some(portset_id) = port.portset else { return };
        let Some(portset) = self.objects.portsets.get_mut(portset_id) else { return };
        let (server, donor) = (portset.servers.pop_front(&mut self.objects.threads), portset.donor);
        self.pend(id);
        if let (None, Some(donor)) = (server, donor) {
            self.dispatcher().end_donation(donor, End::Message);
            // There is one: that of this Port.
            self.take_message(donor, portset_id);
            return;
        }
        if let Some(server) = server {
            if let Some(thread) = self.objects.threads.get_mut(server) {
                thread.wait = Wait::Nothing;
            }
            if self.take_message(server, portset_id) {
                self.dispatcher().wake(server);
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

    /// Gives `server` the next message of a Portset if there is one.
    pub fn take_pending_message(&mut self, server: Id<Thread>, portset: Id<Portset>) -> bool {
        let pending = self.objects.portsets.get(portset).is_some_and(|portset| portset.first_pending.is_some());
        pending && self.take_message(server, portset)
    }

    fn take_message_of(&mut self, server_id: Id<Thread>, id: Id<Port>) -> bool {
        let objects = &mut self.objects;
        let Some(port) = objects.ports.get_mut(id) else { return false };
        let alias = port.alias;
        let mut transfer = None;
        if port.line_fired || port.notification != 0 || port.unreferenced {
            let Some(server) = objects.threads.get_mut(server_id) else { return false };
            if core::mem::take(&mut port.line_fired) {
                let line = port.line.unwrap_or(0);
                set_words(&first_word(u64::from(line)), server.receiving(alias, MessageKind::Interrupt));
                server.line = Some(line);
            } else if port.notification != 0 {
                let bits = core::mem::take(&mut port.notification);
                set_words(&first_word(bits), server.receiving(alias, MessageKind::Notification));
            } else {
                port.unreferenced = false;
                set_words(&first_word(0), server.receiving(alias, MessageKind::NoReferences));
            }
        } else {
            let Some(client_id) = port.clients.pop_front(&mut objects.threads) else { return false };
            let Some((client, server)) = objects.threads.pair_mut(client_id, server_id) else { return false };
            let alias = if client.badge == 0 { alias } else { client.badge };
            if let Queued::AtPort(_, word) = client.scheduling.queued {
                client.scheduling.queued = Queued::No;
                set_words(&first_word(word), server.receiving(port.alias, MessageKind::Wakeup));
            } else if client.sending == MessageKind::Connection {
                self.accept(client_id, server_id, alias, Side::Server);
            } else {
                client.wait = Wait::for_reply(client.sending, server_id);
                transfer = client.sent.and_then(|_| client.sends().zip(server.takes()));
                let words = server.receiving(alias, client.sending);
                match client.sending {
                    MessageKind::Call => copy_words(client.gpr(), words),
                    _ => set_words(&client.message, words),
                }
                // The server does not run on its time, nor may it on the server's.
                if client.scheduling.source != Source::Root || self.grant.is_donated() || objects.limits != 0 {
                    client.detach();
                }
                server.client = Some(client_id);
                server.serves_fault = client.sending == MessageKind::MemoryFault;
            }
        }
        if self.objects.ports.get(id).is_some_and(Port::has_message) {
            self.pend(id);
        }
        if transfer.is_some() {
            self.send_reference(transfer, server_id);
        }
        true
    }

    /// `ipc_wait_receive`: the next message, or waiting for it.
    #[inline(always)]
    pub fn receive(&mut self, server_id: Id<Thread>, portset_id: Id<Portset>) {
        let objects = &mut self.objects;
        let Some(portset) = objects.portsets.get_mut(portset_id) else { return };
        if portset.first_pending.is_some() && self.take_message(server_id, portset_id) {
            return;
        }
        self.wait_for_message(server_id, portset_id);
    }

    #[inline(always)]
    fn wait_for_message(&mut self, server_id: Id<Thread>, portset_id: Id<Portset>) {
        let objects = &mut self.objects;
        let Some(server) = objects.threads.get_mut(server_id) else { return };
        let deadline = server.deadline_of_call();
        if deadline != 0 && deadline <= cpu::time() {
            return server.finish(Status::TimedOut as u64);
        }
        server.wait = Wait::Message(portset_id);
        server.deadline = deadline;
        if let Some(portset) = objects.portsets.get_mut(portset_id) {
            portset.servers.push_back(&mut objects.threads, server_id);
        }
        if deadline != 0 {
            self.set_deadline(server_id, deadline);
        }
        if self.current == Some(server_id) {
            self.current = None;
        }
    }

    /// `ipc_reply`: gives the words in the server's registers to its client. Returns the client if it can go on now.
    #[inline(always)]
    pub fn reply(&mut self, server_id: Id<Thread>) -> Result<Option<Id<Thread>>, Status> {
        let threads = &mut self.objects.threads;
        let Some(server) = threads.get_mut(server_id) else { return Err(Status::Disconnected) };
        let Some(client_id) = server.client.take() else {
            let Some(line) = server.line.take() else {
                if server.ends.get(Side::Server).is_some() {
                    self.disconnect(server_id, Side::Server);
                }
                return Err(Status::Disconnected);
            };
            apic::unmask_line(line);
            return Ok(None);
        };
        match threads.pair_mut(client_id, server_id) {
            Some((client, server)) if client.wait.is_for_reply_of(server_id) => {
                if let Wait::Reply(_) = core::mem::replace(&mut client.wait, Wait::Nothing) {
                    client.answered(server);
                    return Ok(Some(client_id));
                }
                let words = server.words();
                Ok(self.keeper_replied(client_id, &words).then_some(client_id))
            }
            _ => self.reply_late(server_id, client_id),
        }
    }

    /// The reply to a client that the CPU does not go to with it.
    #[cold]
    fn reply_late(&mut self, server_id: Id<Thread>, client_id: Id<Thread>) -> Result<Option<Id<Thread>>, Status> {
        let pair = self.objects.threads.pair_mut(client_id, server_id);
        let Some((client, server)) = pair.filter(|(client, _)| client.wait == Wait::Late(server_id)) else {
            return Err(Status::Disconnected);
        };
        client.wait = Wait::Nothing;
        if client.sending == MessageKind::Call {
            client.answered(server);
            self.make_ready(client_id);
        } else {
            let words = server.words();
            if self.keeper_replied(client_id, &words) {
                self.make_ready(client_id);
            }
        }
        Ok(None)
    }

    /// `ipc_reply_wait_receive`. The client that can go on gets the CPU from the server if that has to wait.
    #[inline(never)]
    pub fn reply_and_receive(&mut self, server: Id<Thread>, portset: Id<Portset>) {
        let client = self.reply(server).ok().flatten();
        self.receive(server, portset);
        self.run_replied(client);
    }

    /// A server has replied to a client and received, or waits: the client gets the CPU if the server has to wait.
    #[inline(always)]
    pub fn run_replied(&mut self, client: Option<Id<Thread>>) {
        match client {
            Some(client) if self.current.is_none() => self.hand_over(client),
            Some(client) => {
                self.make_ready(client);
                self.check_running();
            }
            None => {}
        }
    }

    /// Ends the call of whoever a server has not replied to.
    #[inline(never)]
    pub fn abandon_client(&mut self, server: Id<Thread>) {
        let Some(thread) = self.objects.threads.get_mut(server) else { return };
        if let Some(line) = thread.line.take() {
            apic::unmask_line(line);
        }
        let client = thread.client.take();
        self.disconnect(server, Side::Server);
        if let Some(client) = client
            && self.objects.threads.get(client).is_some_and(|client| client.wait.is_for(server))
        {
            self.fail_client(client);
        }
    }

    /// Ends a client's call because nobody will reply: a caller learns of it, a thread that needed its keeper stops.
    pub fn fail_client(&mut self, id: Id<Thread>) {
        self.fail_client_because(id, "its keeper is gone");
    }

    /// [`fail_client`](Self::fail_client) with what is logged of a thread that needed its keeper.
    pub fn fail_client_because(&mut self, id: Id<Thread>, reason: &str) {
        let Some(client) = self.objects.threads.get_mut(id) else { return };
        let is_calling = client.is_calling();
        let connects = matches!(client.wait, Wait::Server(_)) && client.sending == MessageKind::Connection;
        client.wait = Wait::Nothing;
        client.keeper_since = 0;
        if is_calling {
            let status = if connects { Status::ConnectInvalid } else { Status::InvalidDestination };
            client.finish(status as u64);
            self.make_ready(id);
        } else {
            client.stopped = true;
            log::warn!("{} stopped: {reason}", client.label());
        }
    }

    /// Takes a thread out of whatever it waits in. It waits for nothing then.
    pub fn stop_waiting(&mut self, id: Id<Thread>) {
        self.interrupt_lock(id);
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
            Wait::Mutex(_) | Wait::Cond(_) => {}
            Wait::Donation(target) => {
                thread.wait = Wait::Donation(target);
                self.cancel_donation(id);
            }
            Wait::Reply(_) | Wait::Keeper(_) | Wait::Late(_) | Wait::Connection(_) => {}
            Wait::Interrupt | Wait::Nothing => {}
        }
    }
}
