//! Children of several threads that see their own objects, for tests of Mutexes and Conds.

use alloc::vec::Vec;

use protocols::api::{Call, MutexState, NativeState, OBJECT_SIZE, Run, Status};
use protocols::libc::system_call;
use protocols::libnest::{Event, objects};
use protocols::virtual_cpu::register::{RAX, RBP, RBX, RDI, RDX, RSI};

use crate::code;
use crate::harness::{Bench, Failure, Verdict, fail, require};
use crate::native::{Answer, CODE, DATA, Native};

/// A Mutex of the child's.
pub const MUTEX: u64 = DATA;
/// A Cond of the child's.
pub const COND: u64 = DATA + OBJECT_SIZE;
/// A Portset of the child's: where its threads rest.
const PORTSET: u64 = DATA + 2 * OBJECT_SIZE;
const THREADS: u64 = DATA + 0x400;
const RESULTS: u64 = DATA + 0x1000;
/// What stands in the place of a result that is not there yet.
const NONE: u64 = 0xdead;

/// A child with some threads.
pub struct Team {
    /// The child. Its first thread does not see its own object.
    pub child: Native,
    members: u64,
}

impl Team {
    /// A child with `members` threads.
    pub fn new(bench: &mut Bench, members: u64) -> Result<Self, Failure> {
        let mut child = Native::new(bench)?;
        let created = [(Call::MutexCreate, MUTEX), (Call::CondCreate, COND), (Call::PortsetCreate, PORTSET)];
        let threads = (0..members).map(|member| (Call::ThreadCreate, name(member)));
        for (call, address) in created.into_iter().chain(threads) {
            require!(child.status(bench, call, &[address])?, Status::Ok as u64);
        }
        // The first thread is told to stop.
        require!(bench.receive_until(Some(1)), Event::TimedOut);
        Ok(Self { child, members })
    }

    /// Numbers of its threads.
    pub fn members(&self) -> impl Iterator<Item = u64> + use<> {
        0..self.members
    }

    /// The address in the test's own Space of a thread's object.
    pub fn thread(&self, member: u64) -> u64 {
        self.child.own_address(name(member))
    }

    /// The lock word.
    pub fn word(&self) -> Result<u64, Failure> {
        self.child.read(MUTEX)
    }

    /// Has a thread begin a call.
    pub fn begin(&self, member: u64, call: Call, arguments: [u64; 3]) -> Verdict {
        self.begin_with(member, call, arguments, &[])
    }

    /// [`begin`](Self::begin) with more registers set.
    pub fn begin_with(&self, member: u64, call: Call, arguments: [u64; 3], more: &[(usize, u64)]) -> Verdict {
        let registers: Vec<_> = [(RAX, call as u64)].into_iter().chain(more.iter().copied()).collect();
        self.run(member, code::call_and_rest(), &registers, arguments)
    }

    /// Has a thread run `code` with registers set, of which RDI, RSI and RDX are `arguments`.
    pub fn run(&self, member: u64, code: &[u8], registers: &[(usize, u64)], arguments: [u64; 3]) -> Verdict {
        self.run_at(member, self.thread(member), code, registers, arguments)
    }

    /// [`begin`](Self::begin) with a thread whose object lies elsewhere.
    pub fn begin_at(&self, member: u64, thread: u64, call: Call, arguments: [u64; 3]) -> Verdict {
        self.run_at(member, thread, code::call_and_rest(), &[(RAX, call as u64)], arguments)
    }

    fn run_at(
        &self,
        member: u64,
        thread: u64,
        code: &[u8],
        registers: &[(usize, u64)],
        arguments: [u64; 3],
    ) -> Verdict {
        self.child.memory.write_bytes(0, code)?;
        self.child.write(result(member), NONE)?;
        let mut state = NativeState { rip: CODE, rflags: 2, ..NativeState::default() };
        (state.gpr[RBX], state.gpr[RBP]) = (result(member), PORTSET);
        [state.gpr[RDI], state.gpr[RSI], state.gpr[RDX]] = arguments;
        for &(register, value) in registers {
            state.gpr[register] = value;
        }
        Ok(objects::set_native_thread(thread, &state, self.child.space.reference(), Run::Go)?)
    }

    /// What a thread's call has returned, if it has.
    pub fn result(&self, member: u64) -> Result<Option<u64>, Failure> {
        Ok(Some(self.child.read(result(member))?).filter(|&result| result != NONE))
    }

    /// What a thread's call has returned in RDI.
    pub fn value(&self, member: u64) -> Result<u64, Failure> {
        self.child.read(result(member) + 8)
    }

    /// Fails unless a thread's call returns `status` soon.
    pub fn ends(&self, bench: &mut Bench, member: u64, status: Status) -> Verdict {
        bench.run_until(|| Ok(self.result(member)?.is_some()))?;
        require!((member, self.result(member)?), (member, Some(status as u64)));
        Ok(())
    }

    /// Fails unless a thread goes on waiting in its call.
    pub fn waits(&self, bench: &mut Bench, member: u64) -> Verdict {
        let soon = bench.microseconds(1000);
        require!(bench.receive_until(soon), Event::TimedOut);
        require!((member, self.result(member)?), (member, None));
        Ok(())
    }

    /// Has a thread make a call that returns `status` soon.
    pub fn call(&self, bench: &mut Bench, member: u64, call: Call, arguments: [u64; 3], status: Status) -> Verdict {
        self.begin(member, call, arguments)?;
        self.ends(bench, member, status)
    }

    /// Has a thread begin a call in which it waits.
    pub fn begin_to_wait(&self, bench: &mut Bench, member: u64, call: Call, arguments: [u64; 3]) -> Verdict {
        self.begin(member, call, arguments)?;
        self.waits(bench, member)
    }

    /// Has a thread make a call that is misuse, and says which.
    pub fn misuse(
        &mut self,
        bench: &mut Bench,
        member: u64,
        call: Call,
        arguments: [u64; 3],
    ) -> Result<Answer, Failure> {
        self.begin(member, call, arguments)?;
        self.exception(bench, call)
    }

    /// The misuse that a call which was begun turns out to be.
    pub fn exception(&mut self, bench: &mut Bench, call: Call) -> Result<Answer, Failure> {
        let event = bench.receive();
        let Event::Exception { exception, .. } = event else { fail!("{call:?}: {event:x?}") };
        // It is told to stop.
        require!(bench.receive_until(Some(1)), Event::TimedOut);
        require!(exception.address, call as u64);
        Ok(Answer::Misused(exception.error))
    }

    /// The state of a thread, which is stopped.
    pub fn state(&self, member: u64) -> Result<NativeState, Failure> {
        Ok(objects::native_thread(self.thread(member))?)
    }

    /// Destroys a thread and makes another of its exported state, which goes on at once.
    pub fn recreate(&self, member: u64, state: &NativeState) -> Verdict {
        let thread = self.thread(member);
        let own = system_call::thread_get_links(thread, 0)?;
        require!(own, name(member));
        system_call::thread_destroy(thread)?;
        system_call::thread_create(thread)?;
        objects::set_native_thread(thread, state, self.child.space.reference(), Run::Unchanged)?;
        system_call::thread_set_self(thread, own)?;
        self.go(member)
    }

    /// Lets a stopped thread go on.
    pub fn go(&self, member: u64) -> Verdict {
        Ok(objects::run_thread(self.thread(member), Run::Go)?)
    }

    /// Stops a thread.
    pub fn stop(&self, member: u64) -> Verdict {
        Ok(objects::run_thread(self.thread(member), Run::Stop)?)
    }

    /// Sets the owner of the Mutex, from outside.
    pub fn set_owner(&self, owner: u64) -> Verdict {
        Ok(system_call::mutex_set_state(self.child.own_address(MUTEX), &MutexState { owner })?)
    }

    /// Who owns the Mutex, from outside.
    pub fn owner(&self) -> Result<u64, Failure> {
        Ok(system_call::mutex_get_state(self.child.own_address(MUTEX))?.owner)
    }

    /// Stops all threads.
    pub fn rest(&self) -> Verdict {
        self.members().collect::<Vec<_>>().into_iter().try_for_each(|member| self.stop(member))
    }
}

/// The address by which a thread knows itself.
pub fn name(member: u64) -> u64 {
    THREADS + member * OBJECT_SIZE
}

fn result(member: u64) -> u64 {
    RESULTS + member * OBJECT_SIZE
}
