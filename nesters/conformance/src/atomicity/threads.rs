//! Scenarios of Threads, and of CPU time.

use alloc::vec;
use alloc::vec::Vec;

use protocols::api::{Call, NativeState, Run, Sensitivity};
use protocols::exception::MachineReply;
use protocols::libc::system_call;
use protocols::libnest::{Reference, objects};
use protocols::virtual_cpu::register::{R10, RAX, RCX, RDX, RSI};

use super::objects::{A, CLIENT, KEEPER, KEEPERS, PORTSET, R, R2};
use super::plan::{CODE, END, HANDLER, Plan, STRUCTURES, Step, thread};
use super::scene::Scene;
use crate::code;
use crate::harness::Verdict;

fn some_state() -> NativeState {
    let mut state = NativeState { rip: CODE, rflags: 2, fs_base: 0x5000, ..NativeState::default() };
    state.gpr = core::array::from_fn(|register| 0x111 * register as u64);
    state
}

/// A thread A that never runs, its Space in R, and a Port.
fn another(scene: &Scene<'_>, call: Call) -> Verdict {
    scene.port()?;
    let own = scene.own(A);
    system_call::thread_create(own)?;
    system_call::thread_set_scheduler(own, 0, 0x99)?;
    scene.reference(R)?;
    scene.reference(R2)?;
    system_call::reference_copy(scene.native.reference().address(), scene.own(R))?;
    if call != Call::ThreadSetState {
        objects::set_native_thread(own, &some_state(), scene.native.reference(), Run::Unchanged)?;
    }
    Ok(scene.memory().write(STRUCTURES, &some_state())?)
}

fn nothing(_: &Scene<'_>, _: Call) -> Verdict {
    Ok(())
}

/// All of its state, into a page with nothing else.
pub fn get_state(call: Call) -> Vec<Plan> {
    vec![Plan::one(call, &[A, STRUCTURES + 0x800, NativeState::GROUPS.bits(), R2, R2], another)]
}

/// Registers, Space and address, then that it goes on.
pub fn set_state(call: Call) -> Vec<Plan> {
    let groups = NativeState::REGISTERS.bits();
    let steps = vec![
        Step::new(call, &[A, STRUCTURES, groups, R, Run::Stop as u64, A]),
        Step::new(Call::ThreadGetState, &[A, STRUCTURES + 0x800, groups]),
    ];
    vec![Plan::new(call, steps, another)]
}

/// Two vectors, one after the other.
pub fn interrupt(call: Call) -> Vec<Plan> {
    vec![Plan::new(call, vec![Step::new(call, &[A, 0x40]), Step::new(call, &[A, 0x41])], another)]
}

/// The victim's own address.
pub fn itself(call: Call) -> Vec<Plan> {
    vec![Plan::one(call, &[], nothing)]
}

/// Twice.
pub fn set_exceptions(call: Call) -> Vec<Plan> {
    vec![Plan::new(call, vec![Step::new(call, &[1]), Step::new(call, &[0])], nothing)]
}

/// Two other handlers.
pub fn set_handlers(call: Call) -> Vec<Plan> {
    vec![Plan::one(call, &[CODE + 0x100, CODE + 0x200], nothing)]
}

/// What is set is got.
pub fn saved(call: Call) -> Vec<Plan> {
    let steps = vec![
        Step::new(Call::ThreadSetSaved, &[1, 2, 3, CODE + 4, 2]),
        Step::new(Call::ThreadGetSaved, &[]).ignoring(RCX),
    ];
    vec![Plan::new(call, steps, nothing)]
}

/// To behind the call; from the handler of an exception.
pub fn return_from_exception(call: Call) -> Vec<Plan> {
    // A jump to the next instruction, SYSCALL.
    let at = code::script().windows(4).position(|bytes| bytes == [0xeb, 0, 0x0f, 0x05]).unwrap_or(0) as u64 + 2;
    let steps = vec![Step::new(Call::ThreadSetSaved, &[0x71, 0x72, 0x73, CODE + at + 2, 0x203]), Step::new(call, &[])];
    let handled = vec![
        Step::new(Call::ThreadSetHandlers, &[HANDLER, 0]),
        Step::new(Call::ThreadSetExceptions, &[1]),
        Step::exception(0),
        Step::new(Call::ThreadSetExceptions, &[0]),
    ];
    vec![Plan::new(call, steps, nothing), Plan::new(call, handled, nothing)]
}

/// A virtual CPU writes to a port: its keeper answers.
pub fn exits() -> Vec<Plan> {
    let setup = |scene: &Scene<'_>, _| {
        scene.keepers()?;
        let keeper = Reference::new()?;
        system_call::reference_copy(scene.own(KEEPER), keeper.address())?;
        Ok(scene.home().set_keeper_through(&keeper)?)
    };
    let actions = MachineReply::ADVANCE | MachineReply::SET_RAX;
    let keeper = vec![
        // R10 is the address of an EPT violation, if it is one.
        Step::new(Call::IpcWaitReceive, &[KEEPERS]).ignoring(R10),
        // A virtual CPU that was stopped meanwhile does not wait for the reply.
        Step::new(Call::IpcReply, &[0, actions, 0x77]).ignoring(RAX),
        Step::back(2),
    ];
    let plan = || Plan::new(Call::IpcReply, vec![Step::exception(0x55)], setup);
    vec![plan().after(keeper.clone()), plan().beside(keeper)]
}

/// Of code that the victim does not run.
pub fn redirect(call: Call) -> Vec<Plan> {
    vec![Plan::one(call, &[0, END, CODE + 0xb00], nothing)]
}

/// To a thread that gives the time back; until a deadline; until there is a message.
pub fn schedule(call: Call) -> Vec<Plan> {
    let message = |scene: &Scene<'_>, _| scene.port();
    let target = || Step::new(call, &[thread(1), 0, Sensitivity::Block as u64]);
    let sensitive = Step::new(call, &[thread(1), 0, Sensitivity::Switch as u64, PORTSET]);
    vec![
        Plan::new(call, vec![target().ignoring(RDX)], nothing).beside(vec![Step::new(Call::ThreadSelf, &[])]),
        Plan::new(call, vec![Step::new(call, &[A, 0, 1]).until(RSI)], another),
        Plan::new(call, vec![sensitive], message).beside(vec![Step::new(Call::IpcSend, &[CLIENT, 0x30])]),
    ]
}

/// A Port, then none.
pub fn set_scheduler(call: Call) -> Vec<Plan> {
    vec![Plan::new(call, vec![Step::new(call, &[A, CLIENT, 0x77]), Step::new(call, &[A, 0, 0x78])], another)]
}

/// Of a thread that never runs.
pub fn get_scheduler(call: Call) -> Vec<Plan> {
    vec![Plan::one(call, &[A, R2], another).moving()]
}
