//! Threads.

use crate::arch::View;
use crate::arch::entry::{Registers, SYSTEM_CALL, WHOLE};
use crate::arena::Id;
use crate::connection::Ends;
use crate::deadlines::{self, Timed};
use crate::dispatch::{Scheduling, Source};
use crate::list::{self, List, Member};
use crate::machine::VirtualCpu;
use crate::memory::hierarchy::Space;
use crate::native::{Native, PLAIN};
use crate::objects::{Cond, Link, Mutex, Port, Portset};
use crate::references::{Capability, Reference};
use protocols::api::{Call, MessageKind, Side, Status};
use protocols::exception::MESSAGE_WORDS;
use protocols::virtual_cpu::register::{R8, R10, R12, R13, R14, R15, RAX, RDI, RDX, RSI};

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For nothing: it runs, is ready, or would be were it not stopped.
    Nothing,
    /// For a message, as a server of the Portset.
    Message(Id<Portset>),
    /// For a server to receive from the Port.
    Server(Id<Port>),
    /// For the reply of the thread that received its call.
    Reply(Id<Thread>),
    /// For the reply of the thread that received what the kernel sent on its behalf.
    Keeper(Id<Thread>),
    /// For its peer, in a call on its connection on this side.
    Connection(Side),
    /// For the reply to its call, or to what the kernel sent on its behalf, while the thread that received it does not run on its CPU
    /// time: the CPU does not go to it with the reply.
    Late(Id<Thread>),
    /// For the end of its donation of CPU time to the thread.
    Donation(Id<Thread>),
    /// For an interrupt: a virtual CPU after HLT.
    Interrupt,
    /// For a Mutex.
    Mutex(Id<Mutex>),
    /// For somebody to signal. Its registers say that it is about to lock the Mutex that it had.
    Cond(Id<Cond>),
}

impl Wait {
    /// For the reply of `server` to a message of this kind.
    #[inline]
    pub fn for_reply(kind: MessageKind, server: Id<Thread>) -> Self {
        if kind == MessageKind::Call { Self::Reply(server) } else { Self::Keeper(server) }
    }

    /// Whether it is for the reply of `server`.
    #[inline]
    pub fn is_for_reply_of(self, server: Id<Thread>) -> bool {
        matches!(self, Self::Reply(other) | Self::Keeper(other) if other == server)
    }

    /// Whether it is for the reply of `server`, late or not.
    #[inline]
    pub fn is_for(self, server: Id<Thread>) -> bool {
        self.is_for_reply_of(server) || self == Self::Late(server)
    }

    /// Whether it is for the reply of `server` to a call.
    #[inline(always)]
    pub fn is_call_of(self, server: Id<Thread>) -> bool {
        matches!(self, Self::Reply(other) if other == server)
    }

    /// Whether it is for the reply of `server` to what the kernel sent.
    #[inline(always)]
    pub fn is_of_keeper(self, server: Id<Thread>) -> bool {
        matches!(self, Self::Keeper(other) if other == server)
    }

    /// Whether it is for a Mutex or in a Cond.
    #[inline]
    pub fn is_for_lock(self) -> bool {
        matches!(self, Self::Mutex(_) | Self::Cond(_))
    }

    /// Whether it ends at the thread's deadline.
    #[inline]
    pub fn is_timed(self) -> bool {
        matches!(self, Self::Message(_) | Self::Donation(_)) || self.is_for_lock()
    }
}

/// A Thread. Its registers come first: they are what the CPU finds it by.
#[repr(C)]
pub struct Thread {
    /// Registers, in a native Space.
    pub registers: Registers,
    /// Identifies what it has beside its registers in a native Space: [`PLAIN`] for nothing.
    pub context: u64,
    /// The virtual CPU, in a machine Space.
    pub virtual_cpu: Option<VirtualCpu>,
    /// What it has beside its registers, in a native Space.
    pub native: Native,
    /// Its Space.
    pub space: Option<Id<Space>>,
    /// By what it was linked to its Space.
    pub space_link: Option<Capability>,
    /// By what it was linked to its scheduler's Port.
    pub scheduler_link: Option<Capability>,
    /// How the CPU sees a native Space while it runs.
    pub view: View,
    /// What it waits for.
    pub wait: Wait,
    /// It may not run.
    pub stopped: bool,
    /// What it waited for when it was stopped.
    pub stopped_in: Wait,
    /// That was a keeper.
    pub stopped_for_keeper: bool,
    /// Where its CPU time comes from, and goes to.
    pub scheduling: Scheduling,
    /// Its place in a queue.
    pub link: Link,
    /// The thread that it serves.
    pub client: Option<Id<Thread>>,
    /// It has served a thread that waits for memory, and may do so still.
    pub serves_fault: bool,
    /// The interrupt line that it serves.
    pub line: Option<u8>,
    /// What it sends while it waits for a server or a keeper.
    pub sending: MessageKind,
    /// The badge that it sends with while it waits for a server.
    pub badge: u64,
    /// The Reference that it sends, if the call that it makes has one.
    pub sent: Option<Id<Reference>>,
    /// The Reference that takes the one that it receives, if the call that it makes has one.
    pub taking: Option<Id<Reference>>,
    /// The message, unless it is a call, whose message stands in the registers.
    pub message: [u64; MESSAGE_WORDS],
    /// When its wait for a message ends; 0 for never.
    pub deadline: u64,
    /// When it was first seen waiting for a keeper, in the present wait; 0 if it was not.
    pub keeper_since: u64,
    /// Its ends of reliable connections.
    pub ends: Ends,
    /// Its place among the threads with deadlines. It stays there, for a time that may be over by then, when its wait has ended.
    pub timed: deadlines::Place<Self>,
    /// Its place among the threads of its Space.
    pub fellows: list::Place<Self>,
    /// The Space and address in which it was created, or in which it was told that it lies; 0 if it lies elsewhere.
    pub home: (Id<Space>, u64),
    /// The Mutex that it locks again when it wakes in a Cond.
    pub mutex: Option<Id<Mutex>>,
    /// Mutexes for which others wait, which it owns.
    pub owned: List<Mutex>,
}

/// A thread in the log: by the address at which it was created, where its nester looks it up, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    address: u64,
    rip: u64,
}

impl core::fmt::Display for Label {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the thread created at {:#x}, at rip {:#x},", self.address, self.rip)
    }
}

impl Timed for Thread {
    fn timed(&mut self) -> &mut deadlines::Place<Self> {
        &mut self.timed
    }
    fn timed_ref(&self) -> &deadlines::Place<Self> {
        &self.timed
    }
}

/// Of the list of the threads of a Space.
impl Member for Thread {
    fn place(&mut self) -> &mut list::Place<Self> {
        &mut self.fellows
    }
    fn place_ref(&self) -> &list::Place<Self> {
        &self.fellows
    }
}

/// The registers that carry a message.
const WORDS: [usize; MESSAGE_WORDS] = [RSI, RDX, R10, R8, R8 + 1, R12, R13, R14];

/// Copies the words of a message between registers.
#[inline(always)]
pub fn copy_words(from: &[u64; 16], to: &mut [u64; 16]) {
    for register in WORDS {
        to[register] = from[register];
    }
}

/// Puts a message into registers.
#[inline(always)]
pub fn set_words(words: &[u64; MESSAGE_WORDS], to: &mut [u64; 16]) {
    for (register, word) in WORDS.into_iter().zip(words) {
        to[register] = *word;
    }
}

impl Thread {
    /// A stopped thread.
    pub fn new(home: (Id<Space>, u64), source: Source) -> Self {
        Self {
            registers: Registers::new(),
            context: PLAIN,
            virtual_cpu: None,
            native: Native::default(),
            space: None,
            space_link: None,
            scheduler_link: None,
            view: View::default(),
            wait: Wait::Nothing,
            stopped: true,
            stopped_in: Wait::Nothing,
            stopped_for_keeper: false,
            scheduling: Scheduling::new(source),
            link: Link::default(),
            client: None,
            serves_fault: false,
            line: None,
            sending: MessageKind::Call,
            badge: 0,
            sent: None,
            taking: None,
            message: [0; MESSAGE_WORDS],
            deadline: 0,
            keeper_since: 0,
            ends: Ends::default(),
            timed: deadlines::Place::default(),
            fellows: list::Place::default(),
            home,
            mutex: None,
            owned: List::default(),
        }
    }

    /// Puts it into a Space that shows itself to the CPU as `view`.
    pub fn join(&mut self, space: Id<Space>, view: View) {
        self.space = Some(space);
        self.view = view;
        self.set_home(self.home);
    }

    /// How the log names it.
    pub fn label(&self) -> Label {
        let rip = match &self.virtual_cpu {
            None => self.registers.rip,
            Some(virtual_cpu) => virtual_cpu.state.get().rip,
        };
        Label { address: self.home.1, rip }
    }

    /// Says where it lies.
    pub fn set_home(&mut self, home: (Id<Space>, u64)) {
        self.home = home;
        self.registers.self_address = if self.space == Some(home.0) { home.1 } else { 0 };
    }

    /// The address by which it knows its own object.
    #[inline]
    pub fn own_address(&self) -> Option<u64> {
        Some(self.registers.self_address).filter(|&address| address != 0)
    }

    /// Takes it out of its Space.
    pub fn leave(&mut self) {
        self.space = None;
        self.view = View::default();
        self.registers.self_address = 0;
    }

    /// Its general registers.
    #[inline]
    pub fn gpr(&self) -> &[u64; 16] {
        match &self.virtual_cpu {
            None => &self.registers.gpr,
            Some(virtual_cpu) => &virtual_cpu.state.get().gpr,
        }
    }

    /// Its general registers.
    #[inline]
    pub fn gpr_mut(&mut self) -> &mut [u64; 16] {
        match &mut self.virtual_cpu {
            None => &mut self.registers.gpr,
            Some(virtual_cpu) => &mut virtual_cpu.state.get_mut().gpr,
        }
    }

    /// Its general registers, made those of a call that has received a message, whose words are still to come.
    #[inline(always)]
    pub fn receiving(&mut self, alias: u64, kind: MessageKind) -> &mut [u64; 16] {
        let gpr = self.returning();
        (gpr[RAX], gpr[RDI], gpr[R15]) = (Status::Ok as u64, alias, kind as u64);
        gpr
    }

    /// Makes the words in the registers of `server` the result of its call.
    #[inline]
    pub fn answered(&mut self, server: &Self) {
        let gpr = self.returning();
        copy_words(server.gpr(), gpr);
        gpr[RAX] = Status::Ok as u64;
    }

    /// The Reference that it sends with the call that it makes. Its registers say which call that is.
    pub fn sends(&self) -> Option<Id<Reference>> {
        let call = self.gpr()[RAX];
        self.sent.filter(|_| call == Call::IpcCallWithReference as u64 && self.sending == MessageKind::Call)
    }

    /// The Reference that takes what it receives in the call that it waits in.
    pub fn takes(&self) -> Option<Id<Reference>> {
        const CALLS: [Call; 3] =
            [Call::IpcCallWithReference, Call::IpcReplyWaitReceiveWithReference, Call::IpcWaitReceiveWithReference];
        let call = self.gpr()[RAX];
        self.taking.filter(|_| CALLS.iter().any(|&taking| taking as u64 == call))
    }

    /// The Reference that takes what comes with the reply of `server`, if it waits for that in a call.
    pub fn takes_from(&self, server: Id<Self>) -> Option<Id<Reference>> {
        let late = self.wait == Wait::Late(server) && self.sending == MessageKind::Call;
        if late || self.wait.is_call_of(server) { self.takes() } else { None }
    }

    /// The words in its registers.
    #[inline]
    pub fn words(&self) -> [u64; MESSAGE_WORDS] {
        let gpr = self.gpr();
        WORDS.map(|register| gpr[register])
    }

    /// Its general registers, about to be the result of its call.
    #[inline]
    pub fn returning(&mut self) -> &mut [u64; 16] {
        match &mut self.virtual_cpu {
            None => &mut self.registers.gpr,
            Some(virtual_cpu) => {
                let state = virtual_cpu.state.get_mut();
                state.advance = 1;
                &mut state.gpr
            }
        }
    }

    /// The deadline in R15 of its call, 0 for none. A virtual CPU's is in its own time.
    #[inline(always)]
    pub fn deadline_of_call(&self) -> u64 {
        match &self.virtual_cpu {
            None => self.registers.gpr[R15],
            Some(virtual_cpu) => {
                let state = virtual_cpu.state.get();
                if state.gpr[R15] == 0 { 0 } else { state.gpr[R15].wrapping_sub(state.tsc_offset).max(1) }
            }
        }
    }

    /// `thread_self`. For native threads the entry code has its own.
    #[inline]
    pub fn answer_self(&mut self) {
        let address = self.registers.self_address;
        let gpr = self.returning();
        (gpr[RAX], gpr[RDI]) = (Status::Ok as u64, address);
    }

    /// Ends the call that it makes with a status.
    #[inline]
    pub fn finish(&mut self, status: u64) {
        self.returning()[RAX] = status;
    }

    /// Whether it is in a call of its own that ends when somebody answers.
    pub fn is_calling(&self) -> bool {
        match self.wait {
            Wait::Reply(_) | Wait::Connection(_) => true,
            Wait::Server(_) => matches!(self.sending, MessageKind::Call | MessageKind::Connection),
            Wait::Late(_) => self.sending == MessageKind::Call,
            Wait::Message(_) | Wait::Keeper(_) | Wait::Mutex(_) | Wait::Cond(_) => false,
            Wait::Donation(_) | Wait::Nothing | Wait::Interrupt => false,
        }
    }

    /// Whether it waits for what the kernel sent on its behalf to be replied to.
    pub fn needs_keeper(&self) -> bool {
        matches!(self.wait, Wait::Keeper(_) | Wait::Server(_) | Wait::Late(_)) && !self.is_calling()
    }

    /// Makes a native thread repeat its system call from the start when it goes on.
    pub fn repeat_call(&mut self) {
        if self.virtual_cpu.is_none() && self.registers.vector == SYSTEM_CALL {
            const SYSCALL_LENGTH: u64 = 2;
            self.registers.rip = self.registers.rip.wrapping_sub(SYSCALL_LENGTH);
            self.registers.vector = WHOLE;
        }
    }
}

const _: () = assert!(RDX == 2);
