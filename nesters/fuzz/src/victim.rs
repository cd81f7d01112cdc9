//! The victim: a child that does the same thing again and again, beside the fuzzing children, and must not notice them.
//!
//! At each beat it looks whether its memory is as it left it, changes it, calls its parent and sleeps. Its parent sees whether what it
//! says is right, and when.
#![allow(unsafe_code)]

use protocols::address::PAGE_SIZE;
use protocols::api::{NativeState, OBJECT_SIZE, Rights, SpaceKind};
use protocols::libc::{system_call as call, time};
use protocols::libnest::{Mapping, Memory, Message, Port, Region, Run, Server, Space, Thread};
use protocols::virtual_cpu::register::{RDI, RSP};

use crate::child::Failure;

/// Where its memory is: objects, words, a stack.
const MEMORY: u64 = 0x80_0000;
const PORTSET: u64 = MEMORY;
const REFERENCE: u64 = MEMORY + OBJECT_SIZE;
const WORDS: u64 = MEMORY + PAGE_SIZE;
const WORD_COUNT: usize = 512;
const SIZE: u64 = 4 * PAGE_SIZE;
const ALLOWANCE: u64 = 32;

/// What stands in its memory at a beat.
const fn word(beat: u64, position: u64) -> u64 {
    (beat ^ position << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What it runs.
extern "C" fn run(period: u64) -> ! {
    // SAFETY: the victim's memory is there, and nobody else has it.
    let words = unsafe { &mut *(WORDS as *mut [u64; WORD_COUNT]) };
    for beat in 0.. {
        let mut damaged = 0;
        for (position, value) in words.iter_mut().enumerate() {
            let expected = if beat == 0 { 0 } else { word(beat - 1, position as u64) };
            damaged += u64::from(*value != expected);
            *value = word(beat, position as u64);
        }
        let mut message: Message = [beat, damaged, 2, 3, 4, 5, 6, 7];
        let answered = call::ipc_call(REFERENCE, &mut message).is_ok();
        if !answered || message != reply(beat) {
            break;
        }
        // It always times out: nobody has a Reference to a Port there.
        let _ = call::ipc_wait_receive(PORTSET, time::now() + period);
    }
    protocols::libc::start::crash()
}

/// The right answer to a beat.
fn reply(beat: u64) -> Message {
    [0, 1, 2, 3, 4, 5, 6, 7].map(|position| word(beat, position))
}

/// The victim, as its parent sees it.
#[derive(Debug)]
pub struct Victim {
    _thread: Thread,
    _mappings: [Mapping; 2],
    _space: Space,
    region: Region,
    _port: Port,
    beats: u64,
    last: u64,
    /// The longest time between two beats so far.
    pub longest: u64,
}

impl Victim {
    /// Starts it. Its messages, and its exceptions, have this alias; a beat comes every `period` ticks.
    pub fn start(server: &Server, alias: u64, text: &Region, period: u64) -> Result<Self, Failure> {
        let port = server.port(alias)?;
        let memory = Memory::allocate(SIZE).ok_or(Failure::Range)?;
        call::portset_create(memory.address())?;
        call::reference_create(memory.address() + OBJECT_SIZE)?;
        call::reference_copy(port.reference().address(), memory.address() + OBJECT_SIZE)?;
        let region = Region::new(&memory, 0, SIZE, Rights::all())?;
        let space = Space::new(SpaceKind::Native, ALLOWANCE)?;
        space.set_keeper(&port)?;
        let program = protocols::startup::PROGRAM_ADDRESS;
        let mappings = [
            Mapping::new(text, 0, &space, program, text.size(), Rights::READ | Rights::EXECUTE)?,
            Mapping::new(&region, 0, &space, MEMORY, SIZE, Rights::READ | Rights::WRITE)?,
        ];
        let mut state = NativeState { rip: run as *const () as u64, ..NativeState::default() };
        // As a CALL leaves it.
        state.gpr[RSP] = MEMORY + SIZE - 8;
        state.gpr[RDI] = period;
        let thread = Thread::native(&space, &state)?;
        thread.set_native_state(&state, Run::Go)?;
        let (_port, _space, _mappings, _thread) = (port, space, mappings, thread);
        Ok(Self { _thread, _mappings, _space, region, _port, beats: 0, last: time::now(), longest: 0 })
    }

    /// The reply to its message, if that is the right one.
    pub fn beat(&mut self, words: &Message) -> Option<Message> {
        let now = time::now();
        self.longest = self.longest.max(now - core::mem::replace(&mut self.last, now));
        let expected = [self.beats, 0, 2, 3, 4, 5, 6, 7];
        self.beats += 1;
        (*words == expected).then(|| reply(words[0]))
    }

    /// How many beats there were.
    pub fn beats(&self) -> u64 {
        self.beats
    }

    /// When the last was.
    pub fn last(&self) -> u64 {
        self.last
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // The program is about to end.
        let _ = self.region.destroy_objects();
    }
}
