//! Threads.

use crate::arch::entry::{Registers, SYSTEM_CALL, WHOLE};
use crate::arena::Id;
use crate::machine::VirtualCpu;
use crate::memory::hierarchy::Space;
use crate::objects::{Link, Port, Portset};
use protocols::api::{MessageKind, NativeState};
use protocols::exception::MESSAGE_WORDS;
use protocols::virtual_cpu::register::{R8, R10, R12, R13, R14, R15, RAX, RDI, RDX, RSI, RSP};

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For nothing: it runs, is ready, or would be were it not stopped.
    Nothing,
    /// For a message, as a server of the Portset.
    Message(Id<Portset>),
    /// For a server to receive from the Port.
    Server(Id<Port>),
    /// For the reply of the thread that received its message.
    Reply(Id<Thread>),
    /// For an interrupt: a virtual CPU after HLT.
    Interrupt,
}

/// Whom a thread serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Client {
    /// Nobody.
    #[default]
    Nobody,
    /// A thread.
    Thread(Id<Thread>),
    /// An interrupt line.
    Line(u8),
}

/// A Thread.
pub struct Thread {
    /// Registers, in a native Space.
    pub registers: Registers,
    /// FS base, in a native Space.
    pub fs_base: u64,
    /// The virtual CPU, in a machine Space.
    pub virtual_cpu: Option<VirtualCpu>,
    /// Its Space.
    pub space: Option<Id<Space>>,
    /// What it waits for.
    pub wait: Wait,
    /// It may not run.
    pub stopped: bool,
    /// It is in the ready queue.
    pub ready: bool,
    /// It was interrupted by a woken thread and goes on in the present time slice.
    pub interrupted: bool,
    /// Its place in a queue.
    pub link: Link,
    /// Whom it serves.
    pub client: Client,
    /// What it sends while it waits for a server or a reply.
    pub sending: MessageKind,
    /// The message, unless `sending` is a call, whose message stands in the registers.
    pub message: [u64; MESSAGE_WORDS],
    /// When its wait for a message ends; 0 for never.
    pub deadline: u64,
    /// It is in the list of threads with deadlines.
    pub timed: bool,
    /// The Space and address that it was created at.
    pub home: (Id<Space>, u64),
}

/// The registers that carry a message.
const WORDS: [usize; MESSAGE_WORDS] = [RSI, RDX, R10, R8, R8 + 1, R12, R13, R14];

impl Thread {
    /// A stopped thread.
    pub fn new(home: (Id<Space>, u64)) -> Self {
        Self {
            registers: Registers::new(),
            fs_base: 0,
            virtual_cpu: None,
            space: None,
            wait: Wait::Nothing,
            stopped: true,
            ready: false,
            interrupted: false,
            link: Link::default(),
            client: Client::Nobody,
            sending: MessageKind::Call,
            message: [0; MESSAGE_WORDS],
            deadline: 0,
            timed: false,
            home,
        }
    }

    /// Puts it into a Space.
    pub fn join(&mut self, space: Id<Space>) {
        self.space = Some(space);
        self.registers.self_address = if space == self.home.0 { self.home.1 } else { 0 };
    }

    /// Takes it out of its Space.
    pub fn leave(&mut self) {
        self.space = None;
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

    /// The message that it sends.
    #[inline]
    pub fn outgoing(&self) -> [u64; MESSAGE_WORDS] {
        if self.sending == MessageKind::Call { self.words() } else { self.message }
    }

    /// The words in its registers.
    #[inline]
    pub fn words(&self) -> [u64; MESSAGE_WORDS] {
        let gpr = self.gpr();
        WORDS.map(|register| gpr[register])
    }

    /// Makes a message and a status the result of its call, and what `other` sets in its registers.
    #[inline]
    pub fn answer(&mut self, words: &[u64; MESSAGE_WORDS], status: u64, other: impl FnOnce(&mut [u64; 16])) {
        let gpr = match &mut self.virtual_cpu {
            None => &mut self.registers.gpr,
            Some(virtual_cpu) => {
                let state = virtual_cpu.state.get_mut();
                state.advance = 1;
                &mut state.gpr
            }
        };
        for (register, word) in WORDS.into_iter().zip(words) {
            gpr[register] = *word;
        }
        gpr[RAX] = status;
        other(gpr);
    }

    /// Makes the message received the result of its call.
    #[inline]
    pub fn receive(&mut self, alias: u64, kind: MessageKind, words: &[u64; MESSAGE_WORDS]) {
        self.answer(words, 0, |gpr| {
            gpr[RDI] = alias;
            gpr[R15] = kind as u64;
        });
    }

    /// Ends the call that it makes with a status.
    #[inline]
    pub fn finish(&mut self, status: u64) {
        self.gpr_mut()[RAX] = status;
        if let Some(virtual_cpu) = &mut self.virtual_cpu {
            virtual_cpu.state.get_mut().advance = 1;
        }
    }

    /// Whether it is inside a call of its own.
    fn in_call(&self) -> bool {
        match self.wait {
            Wait::Message(_) => true,
            Wait::Server(_) | Wait::Reply(_) => self.sending == MessageKind::Call,
            Wait::Nothing | Wait::Interrupt => false,
        }
    }

    /// Makes a native thread repeat its system call from the start when it goes on.
    pub fn repeat_call(&mut self) {
        if self.virtual_cpu.is_none() && self.registers.vector == SYSTEM_CALL {
            const SYSCALL_LENGTH: u64 = 2;
            self.registers.rip = self.registers.rip.wrapping_sub(SYSCALL_LENGTH);
            self.registers.vector = WHOLE;
        }
    }

    /// The state of a native thread, in which whatever it waits for is a call about to be made.
    pub fn native_state(&self) -> NativeState {
        let mut state = NativeState {
            gpr: self.registers.gpr,
            rip: self.registers.rip,
            rflags: self.registers.rflags,
            fs_base: self.fs_base,
            stopped: self.stopped as u64,
        };
        state.gpr[RSP] = self.registers.rsp;
        if self.in_call() {
            state.rip = state.rip.wrapping_sub(2);
        }
        state
    }

    /// Sets the state of a native thread. False, with nothing changed, if no thread can have it.
    #[must_use]
    pub fn set_native_state(&mut self, state: &NativeState) -> bool {
        let user = |address: u64| address < crate::memory::page_table::USER_END;
        if !user(state.rip) || !user(state.fs_base) {
            return false;
        }
        self.registers.gpr = state.gpr;
        self.registers.rsp = state.gpr[RSP];
        self.registers.rip = state.rip;
        self.registers.set_flags(state.rflags);
        self.registers.vector = WHOLE;
        self.fs_base = state.fs_base;
        true
    }
}

const _: () = assert!(RDX == 2);
