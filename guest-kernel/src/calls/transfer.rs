//! Moving bytes and References from one thread's memory to another's, as their [`Transfer`]s say.
//!
//! Both threads wait in a call or make it now. What moves is noted in their parameters before anything else can happen, so that each of
//! them can be interrupted and make its call again. For that, the parameters' own memory must be writable before anything
//! moves. Every error says whose memory or mistake it is.

use super::Stop;
use crate::arch::physical;
use crate::arena::Id;
use crate::connection::Moved;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::references::Capability;
use crate::thread::Thread;
use core::mem::offset_of;
use protocols::address::HostPhysical;
use protocols::api::{Buffer, Rights, Status, Table, Transfer};
use protocols::exception::Misuse;
use protocols::virtual_cpu::register::RSI;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

/// The work of one piece, of whatever size, in bytes copied.
const PIECE: u64 = 512;

/// Whose it is, and what.
type Blame = (Id<Thread>, Stop);

/// A thread's parameters.
struct Parameters {
    thread: Id<Thread>,
    space: Id<Space>,
    place: HostPhysical,
    transfer: Transfer,
}

/// A table of Buffers being worked on.
struct Stream {
    space: Id<Space>,
    want: Rights,
    /// Where the table is noted.
    place: HostPhysical,
    table: Table,
    /// Its first entry, once that was looked at, and where it stands.
    first: Option<(HostPhysical, Buffer)>,
}

/// The next stretch of a [`Stream`].
enum Piece {
    /// Of memory: where, how many bytes.
    Bytes(HostPhysical, u64),
    /// There is none left.
    End,
    /// There may be more, but that was enough work.
    Later,
}

impl Kernel {
    /// Moves what `sender` has to where `receiver` has room, or until `work` is used up.
    pub(super) fn transfer(
        &mut self,
        sender: Id<Thread>,
        receiver: Id<Thread>,
        work: &mut u64,
    ) -> Result<Moved, Blame> {
        let mut from = self.parameters(sender).map_err(|stop| (sender, stop))?;
        let mut to = self.parameters(receiver).map_err(|stop| (receiver, stop))?;
        if from.transfer.send.count > 0 {
            let moved = self.move_bytes(&from, &to, work)?;
            if moved != Moved::Everything {
                return Ok(moved);
            }
        }
        self.move_references(&mut from, &mut to, work)
    }

    /// Whether a thread's parameters say that there is nothing to send.
    pub(super) fn sends_nothing(&mut self, sender: Id<Thread>) -> Result<bool, Stop> {
        let Transfer { send, send_references, .. } = self.parameters(sender)?.transfer;
        Ok(send.count == 0 && send_references.count == 0)
    }

    fn parameters(&mut self, id: Id<Thread>) -> Result<Parameters, Stop> {
        let thread = self.objects.threads.get(id).ok_or(Misuse::NoObject)?;
        let space = thread.space.ok_or(Misuse::NoObject)?;
        let (place, transfer) = self.entry(space, thread.gpr()[RSI])?;
        Ok(Parameters { thread: id, space, place, transfer })
    }

    /// A value in memory that can be written as well, aligned so that it is within one page.
    fn entry<T: FromBytes + FromZeros + IntoBytes + Immutable>(
        &mut self,
        space: Id<Space>,
        address: u64,
    ) -> Result<(HostPhysical, T), Stop> {
        const { assert!(size_of::<T>().is_power_of_two()) };
        if !address.is_multiple_of(size_of::<T>() as u64) {
            return Err(Misuse::NotAligned.into());
        }
        let (place, _) = self.reach(space, address, size_of::<T>() as u64, Rights::READ | Rights::WRITE)?;
        let mut value = T::new_zeroed();
        if physical::read(place, value.as_mut_bytes()) { Ok((place, value)) } else { Err(Misuse::NoRight.into()) }
    }

    fn move_bytes(&mut self, from: &Parameters, to: &Parameters, work: &mut u64) -> Result<Moved, Blame> {
        let mut source = Stream::new(from, from.transfer.send, offset_of!(Transfer, send), Rights::READ);
        let mut target = Stream::new(to, to.transfer.receive, offset_of!(Transfer, receive), Rights::WRITE);
        let moved = loop {
            let (read, available) = match source.next(self, work) {
                Ok(Piece::Bytes(place, size)) => (place, size),
                Ok(Piece::End) => break Ok(Moved::Everything),
                Ok(Piece::Later) => break Ok(Moved::Interrupted),
                Err(stop) => break Err((from.thread, stop)),
            };
            let (written, room) = match target.next(self, work) {
                Ok(Piece::Bytes(place, size)) => (place, size),
                Ok(Piece::End) => break Ok(Moved::Full(Status::MoreData)),
                Ok(Piece::Later) => break Ok(Moved::Interrupted),
                Err(stop) => break Err((to.thread, stop)),
            };
            let size = available.min(room).min(*work);
            if !physical::copy(read, written, size as usize) {
                break Err((to.thread, Misuse::NoRight.into()));
            }
            source.pass(size);
            target.pass(size);
            spend(work, size + PIECE);
        };
        source.note();
        target.note();
        moved
    }

    fn move_references(&mut self, from: &mut Parameters, to: &mut Parameters, work: &mut u64) -> Result<Moved, Blame> {
        loop {
            let (source, target) = (from.transfer.send_references, to.transfer.receive_references);
            if source.count == 0 {
                return Ok(Moved::Everything);
            }
            if target.count == 0 {
                return Ok(Moved::Full(Status::MoreReferences));
            }
            if *work == 0 {
                return Ok(Moved::Interrupted);
            }
            let sent = self.entry::<u64>(from.space, source.address).and_then(|(_, at)| self.original(from.space, at));
            let sent = sent.map_err(|stop| (from.thread, stop))?;
            let taking = self.entry::<u64>(to.space, target.address);
            let taking = taking.and_then(|(_, at)| self.reference_at(to.space, at, Rights::WRITE));
            let taking = taking.map_err(|stop| (to.thread, stop))?;
            self.objects.set_reference(taking, sent.map(Capability::copy));
            from.transfer.send_references = source.without_first(size_of::<u64>());
            to.transfer.receive_references = target.without_first(size_of::<u64>());
            store(from.place, offset_of!(Transfer, send_references), &from.transfer.send_references);
            store(to.place, offset_of!(Transfer, receive_references), &to.transfer.receive_references);
            spend(work, PIECE);
        }
    }
}

impl Stream {
    fn new(parameters: &Parameters, table: Table, offset: usize, want: Rights) -> Self {
        let place = HostPhysical::new(parameters.place.get() + offset as u64);
        Self { space: parameters.space, want, place, table, first: None }
    }

    fn next(&mut self, kernel: &mut Kernel, work: &mut u64) -> Result<Piece, Stop> {
        while self.table.count > 0 {
            let (_, buffer) = match self.first {
                Some(first) => first,
                None => *self.first.insert(kernel.entry(self.space, self.table.address)?),
            };
            if *work == 0 {
                return Ok(Piece::Later);
            }
            if buffer.length > 0 {
                let (place, size) = kernel.reach(self.space, buffer.address, buffer.length, self.want)?;
                return Ok(Piece::Bytes(place, size));
            }
            self.table = self.table.without_first(size_of::<Buffer>());
            self.first = None;
            spend(work, PIECE);
        }
        Ok(Piece::End)
    }

    fn pass(&mut self, size: u64) {
        if let Some((_, buffer)) = &mut self.first {
            // The piece was memory, so that its end does not wrap.
            buffer.address = buffer.address.wrapping_add(size);
            buffer.length -= size;
        }
    }

    /// Notes what is left to do.
    fn note(&self) {
        if let Some((place, buffer)) = &self.first {
            store(*place, 0, buffer);
        }
        store(self.place, 0, &self.table);
    }
}

/// Extends tables by what passing over an entry means.
trait Shrink {
    fn without_first(self, size: usize) -> Self;
}

impl Shrink for Table {
    fn without_first(self, size: usize) -> Self {
        Self { address: self.address.wrapping_add(size as u64), count: self.count.saturating_sub(1) }
    }
}

fn spend(work: &mut u64, amount: u64) {
    *work = work.saturating_sub(amount);
}

/// Writes to where [`Kernel::entry`] has read.
fn store<T: IntoBytes + Immutable>(place: HostPhysical, offset: usize, value: &T) {
    let written = physical::write(HostPhysical::new(place.get() + offset as u64), value.as_bytes());
    debug_assert!(written, "what was read can be written");
}
