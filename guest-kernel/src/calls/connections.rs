//! Calls on reliable connections: what the state machine in [`crate::connection`] says, done to threads.

use super::{Done, Stop};
use crate::arena::Id;
use crate::connection::{Connection, Half, Moved, Operation, Step, advance};
use crate::dispatch::Queued;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::objects::Object;
use crate::references::{Capability, Destination};
use crate::thread::{Thread, Wait, set_words};
use protocols::api::{ConnectionState, MessageKind, ReferenceRights, Rights, SERVED, Side, Status, Transfer};
use protocols::exception::{MESSAGE_WORDS, Misuse};
use protocols::virtual_cpu::register::{R15, RAX, RDI, RDX, RSI};
use zerocopy::{IntoBytes, TryFromBytes};

/// Work of one kernel entry, in bytes copied: then interrupts have their turn.
const WORK: u64 = 64 << 10;

impl Kernel {
    /// Performs a call on a connection. `None`: the thread's registers say already what it returns, or it waits.
    pub(super) fn connection_call(&mut self, id: Id<Thread>, number: u64) -> Result<Option<Status>, Stop> {
        let (operation, side) = Operation::of(number).ok_or(Misuse::UnknownCall)?;
        let step = operation.step();
        let thread = self.objects.threads.get_mut(id).ok_or(Misuse::NoObject)?;
        let caller = thread.space.ok_or(Misuse::NoObject)?;
        let [target, parameters] = [thread.gpr()[RDI], thread.gpr()[RSI]];
        let needs_parameters = !matches!(step, Step::Disconnect | Step::Alert);
        if needs_parameters && !parameters.is_multiple_of(align_of::<Transfer>() as u64) {
            return Err(Misuse::NotAligned.into());
        }
        match step {
            Step::Connect => {
                let destination = match self.destination_of(caller, target, ReferenceRights::CALL) {
                    Err(Stop::Status(_)) => return Ok(Some(Status::ConnectInvalid)),
                    destination => destination?,
                };
                self.disconnect(id, Side::Client);
                return Ok(self.connect(id, destination));
            }
            Step::Wait => return self.wait_for_client(id),
            Step::Disconnect | Step::Alert => {
                let is_connected = if step == Step::Alert { self.alert(id, side) } else { self.disconnect(id, side) };
                return Ok(Some(if is_connected { Status::Ok } else { step.disconnected() }));
            }
            Step::Send | Step::Over | Step::Receive | Step::Acknowledge => {}
        }
        if thread_alerted(self, id, side) {
            return Ok(Some(Status::Alerted));
        }
        let Some(half) = self.objects.threads.get(id).and_then(|thread| thread.ends.get(side)) else {
            return Ok(Some(step.disconnected()));
        };
        match step.as_sender() {
            Some(true) if !half.sends => return Err(Misuse::NotSender.into()),
            Some(false) if half.sends => return Err(Misuse::NotReceiver.into()),
            _ => {}
        }
        if let Some(thread) = self.objects.threads.get_mut(id) {
            thread.wait = Wait::Connection(side);
        }
        if self.advance_connection(id, side) {
            let done = self.wait_for_client(id);
            self.release_peer(half.peer);
            return done;
        }
        self.release_peer(half.peer);
        Ok(None)
    }

    /// The *wait* of a server, as its registers say.
    fn wait_for_client(&mut self, id: Id<Thread>) -> Result<Option<Status>, Stop> {
        let address = self.objects.threads.get(id).map_or(0, |thread| thread.gpr()[RDI]);
        let portset = self.portset_at(id, address)?;
        self.abandon_client(id);
        self.receive(id, portset);
        Ok(None)
    }

    /// Finds a server for the client `id`, or lets it wait for one.
    fn connect(&mut self, id: Id<Thread>, destination: Destination) -> Option<Status> {
        let objects = &mut self.objects;
        let Some(port) = objects.ports.get(destination.port) else { return Some(Status::ConnectInvalid) };
        let (alias, portset) = (destination.name(port), port.portset);
        let portset = portset.and_then(|portset| objects.portsets.get_mut(portset));
        match portset.and_then(|portset| portset.servers.pop_front(&mut objects.threads)) {
            Some(server) => self.accept(id, server, alias, Side::Client),
            None => self.wait_for_server(id, destination.port, destination.badge, MessageKind::Connection),
        }
        None
    }

    /// Connects a client, about to or in the wait of *connect*, with a server that is in no queue any more. `driver` is the one
    /// that makes its call now.
    #[inline(never)]
    pub fn accept(&mut self, client_id: Id<Thread>, server_id: Id<Thread>, alias: u64, driver: Side) {
        self.disconnect(server_id, Side::Server);
        let Some((client, server)) = self.objects.threads.pair_mut(client_id, server_id) else { return };
        client.ends.begin(Side::Client, Half { peer: server_id, sends: true });
        server.ends.begin(Side::Server, Half { peer: client_id, sends: false });
        if let Some(rest) = operation(client, Side::Client).and_then(Operation::rest) {
            client.gpr_mut()[RAX] = rest.number(Side::Client);
        }
        client.wait = Wait::Connection(Side::Client);
        server.wait = Wait::Nothing;
        let receives = server.gpr()[RAX] == Operation::WaitReceive.number(Side::Server);
        if receives {
            let gpr = server.gpr_mut();
            (gpr[RDI], gpr[R15]) = (alias, MessageKind::Connection as u64);
            gpr[RAX] = Operation::Receive.number(Side::Server);
            server.wait = Wait::Connection(Side::Server);
        } else {
            set_words(&[0; MESSAGE_WORDS], server.receiving(alias, MessageKind::Connection));
        }
        match driver {
            Side::Client => {
                self.advance_connection(client_id, Side::Client);
                self.release_peer(server_id);
            }
            Side::Server => {
                self.advance_connection(server_id, Side::Server);
                self.release_peer(client_id);
            }
        }
    }

    /// Lets both ends of a connection go as far as they can. `driver` is the thread whose call is being performed; whether it is to
    /// [wait for the next client](Self::wait_for_client) now. Its peer may have to be [released](Self::release_peer) afterwards.
    fn advance_connection(&mut self, driver: Id<Thread>, side: Side) -> bool {
        let Some(half) = self.objects.threads.get(driver).and_then(|thread| thread.ends.get(side)) else {
            return false;
        };
        let mut threads = [driver; 2];
        threads[side.other() as usize] = half.peer;
        let mut joined = Joined { kernel: self, threads, work: WORK, driver: side, serves: false };
        advance(&mut joined);
        let serves = joined.serves;
        let waits = self.objects.threads.get(driver).is_some_and(|thread| thread.wait != Wait::Nothing);
        if self.current == Some(driver) && waits {
            self.current = None;
        }
        serves
    }

    /// Lets a thread whose call has ended meanwhile go on: at once, if the running thread has begun to wait.
    fn release_peer(&mut self, id: Id<Thread>) {
        let Some(thread) = self.objects.threads.get(id) else { return };
        if thread.wait == Wait::Nothing && !thread.stopped && thread.scheduling.queued == Queued::No {
            self.pass_on(id);
        }
    }

    /// Ends a thread's connection; the call that its peer is in ends. False if there is none.
    pub fn disconnect(&mut self, id: Id<Thread>, side: Side) -> bool {
        let Some(half) = self.end_connection(id, side) else { return false };
        self.release_peer(half.peer);
        true
    }

    /// [`disconnect`](Self::disconnect), but for letting the peer go on.
    fn end_connection(&mut self, id: Id<Thread>, side: Side) -> Option<Half> {
        let threads = &mut self.objects.threads;
        let half = threads.get_mut(id)?.ends.end(side)?;
        let other = side.other();
        if let Some(peer) = threads.get_mut(half.peer) {
            peer.ends.end(other);
            if peer.wait == Wait::Connection(other) {
                let step = operation(peer, other).map(Operation::step);
                peer.wait = Wait::Nothing;
                peer.finish(step.map_or(Status::Disconnected, Step::disconnected) as u64);
            }
        }
        Some(half)
    }

    /// Alerts the peer of a thread. False if there is none.
    pub fn alert(&mut self, id: Id<Thread>, side: Side) -> bool {
        let Some(half) = self.objects.threads.get(id).and_then(|thread| thread.ends.get(side)) else { return false };
        let other = side.other();
        let Some(peer) = self.objects.threads.get_mut(half.peer) else { return false };
        peer.ends.alert(other);
        if peer.wait == Wait::Connection(other) && thread_alerted(self, half.peer, other) {
            if let Some(peer) = self.objects.threads.get_mut(half.peer) {
                peer.wait = Wait::Nothing;
                peer.finish(Status::Alerted as u64);
            }
            self.make_ready(half.peer);
        }
        true
    }

    /// Ends all connections of a thread that goes: its peers are alerted.
    pub fn break_connections(&mut self, id: Id<Thread>) {
        for side in [Side::Client, Side::Server] {
            self.alert(id, side);
            self.disconnect(id, side);
        }
    }

    /// Takes a thread out of a wait on, or for, a connection, and out of one for a lock: it makes the same call again when it goes on. To
    /// stop it, so that what it is exported as stays true.
    pub fn interrupt_call(&mut self, id: Id<Thread>) {
        self.interrupt_lock(id);
        let Some(thread) = self.objects.threads.get(id) else { return };
        let waits = match thread.wait {
            Wait::Connection(_) => true,
            Wait::Server(_) => thread.sending == MessageKind::Connection,
            Wait::Message(_) => thread.gpr()[RAX] == Operation::WaitReceive.number(Side::Server),
            _ => false,
        };
        if waits {
            self.stop_waiting(id);
            if let Some(thread) = self.objects.threads.get_mut(id) {
                thread.repeat_call();
            }
        }
    }

    pub(super) fn get_connection(
        &mut self,
        caller: Id<Space>,
        address: u64,
        side: u64,
        state: u64,
        reference: u64,
    ) -> Done {
        let target = self.thread_at(caller, address, Rights::READ)?;
        if side == SERVED {
            return self.get_served(caller, target, state, reference);
        }
        let side = side_of(side)?;
        let Some(ends) = self.objects.threads.get(target).map(|thread| thread.ends) else {
            return Ok(Status::NotFound);
        };
        let half = ends.get(side);
        let reference = self.optional_reference(caller, reference)?;
        let exported = ConnectionState {
            connected: half.is_some() as u64,
            sends: half.is_some_and(|half| half.sends) as u64,
            alerted: ends.alerted(side) as u64,
        };
        self.write(caller, state, exported.as_bytes())?;
        self.point(reference, half.map(|half| Capability::new(Object::Thread(half.peer))));
        Ok(if half.is_some() { Status::Ok } else { Status::NotFound })
    }

    pub(super) fn move_connection(&mut self, caller: Id<Space>, from: u64, to: u64, side: u64) -> Done {
        let from = self.thread_at(caller, from, Rights::WRITE)?;
        let to = self.thread_at(caller, to, Rights::WRITE)?;
        if side == SERVED {
            return Ok(self.move_served(from, to));
        }
        let side = side_of(side)?;
        let Some((old, new)) = self.objects.threads.pair_mut(from, to) else { return Ok(Status::Refused) };
        let Some(half) = old.ends.get(side) else { return Ok(Status::NotFound) };
        if new.ends.get(side).is_some() || half.peer == to {
            return Ok(Status::Refused);
        }
        old.ends.end(side);
        new.ends.begin(side, half);
        if old.ends.take_alert(side) {
            new.ends.alert(side);
        }
        let interrupted = old.wait == Wait::Connection(side);
        if let Some(peer) = self.objects.threads.get_mut(half.peer) {
            peer.ends.set_peer(side.other(), to);
        }
        if interrupted {
            self.interrupt_call(from);
            self.make_ready(from);
        }
        Ok(Status::Ok)
    }

    pub(super) fn connect_threads(
        &mut self,
        caller: Id<Space>,
        client: u64,
        server: u64,
        sender: u64,
        alerted: u64,
    ) -> Done {
        let client_id = self.thread_at(caller, client, Rights::WRITE)?;
        let server_id = self.thread_at(caller, server, Rights::WRITE)?;
        let client_sends = side_of(sender)? == Side::Client;
        if alerted > 3 {
            return Err(Misuse::BadArgument.into());
        }
        let Some((client, server)) = self.objects.threads.pair_mut(client_id, server_id) else {
            return Ok(Status::Refused);
        };
        if client.ends.get(Side::Client).is_some() || server.ends.get(Side::Server).is_some() {
            return Ok(Status::Refused);
        }
        client.ends.begin(Side::Client, Half { peer: server_id, sends: client_sends });
        server.ends.begin(Side::Server, Half { peer: client_id, sends: !client_sends });
        if alerted & 1 != 0 {
            client.ends.alert(Side::Client);
        }
        if alerted & 2 != 0 {
            server.ends.alert(Side::Server);
        }
        Ok(Status::Ok)
    }
}

fn side_of(value: u64) -> Result<Side, Misuse> {
    Side::try_read_from_bytes(value.as_bytes()).map_err(|_| Misuse::BadArgument)
}

/// The call that a thread is in, if it is one on a connection on this side.
fn operation(thread: &Thread, side: Side) -> Option<Operation> {
    let (operation, of) = Operation::of(thread.gpr()[RAX])?;
    (of == side).then_some(operation)
}

/// Takes a thread's alert on a side. Its call ends with the status that says so, and with what remained of it in RDX.
fn thread_alerted(kernel: &mut Kernel, id: Id<Thread>, side: Side) -> bool {
    let Some(thread) = kernel.objects.threads.get_mut(id) else { return false };
    let alerted = thread.ends.take_alert(side);
    if alerted {
        let gpr = thread.gpr_mut();
        gpr[RDX] = gpr[RAX];
    }
    alerted
}

/// A connection between two threads, in a call of one of them.
struct Joined<'a> {
    kernel: &'a mut Kernel,
    /// By side.
    threads: [Id<Thread>; 2],
    /// What may still be done in this kernel entry.
    work: u64,
    /// The side whose call is being performed.
    driver: Side,
    /// The driver is to wait for the next client.
    serves: bool,
}

impl Joined<'_> {
    fn thread(&self, end: Side) -> Option<&Thread> {
        self.kernel.objects.threads.get(self.threads[end as usize])
    }

    fn thread_mut(&mut self, end: Side) -> Option<&mut Thread> {
        self.kernel.objects.threads.get_mut(self.threads[end as usize])
    }

    /// Takes an end out of its call, which it makes again when it goes on.
    fn interrupt(&mut self, end: Side) {
        if let Some(thread) = self.thread_mut(end) {
            thread.wait = Wait::Nothing;
            thread.repeat_call();
        }
    }

    /// An end cannot go on by itself: its memory is missing, or it misused the API.
    fn stop(&mut self, end: Side, stop: Stop) -> Moved {
        let id = self.threads[end as usize];
        match stop {
            Stop::Memory(unresolved, address, want) => {
                self.interrupt(end);
                self.kernel.unresolved(id, unresolved, address, want);
            }
            Stop::Misuse(misuse) => {
                let call = self.thread(end).map_or(0, |thread| thread.gpr()[RAX]);
                if let Some(thread) = self.thread_mut(end) {
                    thread.wait = Wait::Nothing;
                }
                self.kernel.disconnect(id, end);
                self.kernel.misuse(id, misuse, call);
            }
            // For uses of a link that needs its target; moving one does not.
            Stop::Status(status) => {
                if let Some(thread) = self.thread_mut(end) {
                    thread.wait = Wait::Nothing;
                    thread.finish(status as u64);
                }
            }
        }
        Moved::Interrupted
    }
}

impl Connection for Joined<'_> {
    fn sender(&self) -> Side {
        let half = self.thread(Side::Client).and_then(|client| client.ends.get(Side::Client));
        if half.is_some_and(|half| half.sends) { Side::Client } else { Side::Server }
    }

    fn operation(&self, end: Side) -> Option<Operation> {
        let thread = self.thread(end)?;
        if thread.wait == Wait::Connection(end) { operation(thread, end) } else { None }
    }

    fn is_nothing_sent(&mut self) -> bool {
        let sender = self.sender();
        match self.kernel.sends_nothing(self.threads[sender as usize]) {
            Ok(nothing) => nothing,
            Err(stop) => {
                self.stop(sender, stop);
                false
            }
        }
    }

    fn transfer(&mut self) -> Moved {
        let sender = self.sender();
        let [from, to] = [sender, sender.other()].map(|end| self.threads[end as usize]);
        match self.kernel.transfer(from, to, &mut self.work) {
            Ok(Moved::Interrupted) => {
                // The driver goes on when interrupts have had their turn; its peer waits for it.
                self.interrupt(self.driver);
                let driver = self.threads[self.driver as usize];
                self.kernel.make_ready(driver);
                Moved::Interrupted
            }
            Ok(moved) => moved,
            Err((thread, stop)) => self.stop(if thread == from { sender } else { sender.other() }, stop),
        }
    }

    fn reverse(&mut self) {
        for end in [Side::Client, Side::Server] {
            if let Some(thread) = self.thread_mut(end) {
                thread.ends.reverse(end);
            }
        }
    }

    fn proceed(&mut self, end: Side, rest: Operation) {
        if let Some(thread) = self.thread_mut(end) {
            thread.gpr_mut()[RAX] = rest.number(end);
        }
    }

    fn finish(&mut self, end: Side, status: Status) {
        if let Some(thread) = self.thread_mut(end) {
            thread.wait = Wait::Nothing;
            thread.finish(status as u64);
        }
    }

    fn leave(&mut self, end: Side) {
        self.proceed(end, Operation::WaitReceive);
        if end == self.driver {
            self.serves = true;
            if let Some(thread) = self.thread_mut(end) {
                thread.wait = Wait::Nothing;
            }
        } else {
            self.interrupt(end);
        }
        // Whoever is not the driver is released when that waits, to get the CPU from it.
        self.kernel.end_connection(self.threads[end as usize], end);
    }
}
