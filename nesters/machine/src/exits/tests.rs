//! A virtual CPU of plain memory under the exit handlers.

use super::*;
use crate::memory::tests::TestMemory;
use crate::paging::tests::paged;
use crate::pc::tests::pc;
use core::cell::{Cell, RefCell};
use proptest::prelude::*;

struct FakeCpu {
    state: RefCell<VirtualCpuState>,
    posted: Cell<u64>,
}

impl VirtualCpu for FakeCpu {
    fn get(&self, state: &mut VirtualCpuState, _: Groups) -> Result<()> {
        *state = *self.state.borrow();
        Ok(())
    }
    fn set(&self, state: &VirtualCpuState, _: Groups) -> Result<()> {
        *self.state.borrow_mut() = *state;
        Ok(())
    }
    fn post(&self, vector: u8) -> Result<u64> {
        Ok(self.posted.replace(u64::from(vector)))
    }
}

fn exits() -> Exits<FakeCpu, TestMemory> {
    let (memory, state) = paged();
    let cpu = FakeCpu { state: RefCell::new(state), posted: Cell::new(0) };
    Exits::new(pc(), cpu, memory, Processor::new(|_, _| [u32::MAX; 4], 1_000_000_000))
}

fn exit(reason: u32, qualification: u64) -> MachineExit {
    MachineExit { reason: u64::from(reason), qualification, ..MachineExit::default() }
}

fn replied(action: Action) -> MachineReply {
    match action {
        Action::Reply(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn write_msr(exits: &mut Exits<FakeCpu, TestMemory>, msr: u64, value: u64, posted: u64) -> MachineReply {
    let exit = MachineExit { rcx: msr, rax: value, posted, ..exit(exit_reason::WRMSR, 0) };
    replied({
        exits.exited(&exit);
        exits.serve(&exit, 1000)
    })
}

#[test]
fn port_reads_change_only_their_part_of_rax() {
    let mut exits = exits();
    let read = MachineExit { rax: 0x1122_3344_5566_7788, ..exit(exit_reason::IO, 0x3fd_0008) };
    let reply = replied({
        exits.exited(&read);
        exits.serve(&read, 0)
    });
    assert_eq!((reply.actions, reply.rax), (MachineReply::ADVANCE | MachineReply::SET_RAX, 0x1122_3344_5566_7760));
    let read = MachineExit { rax: u64::MAX, ..exit(exit_reason::IO, 0xcfc_000b) };
    assert_eq!(
        replied({
            exits.exited(&read);
            exits.serve(&read, 0)
        })
        .rax,
        0xffff_ffff
    );
    let write = MachineExit { rax: u64::from(b'x'), ..exit(exit_reason::IO, 0x3f8_0000) };
    assert_eq!(
        replied({
            exits.exited(&write);
            exits.serve(&write, 0)
        }),
        reply_of(MachineReply::ADVANCE)
    );
    assert_eq!(exits.pc.output(), b"x");
    assert_eq!(exits.serve(&MachineExit { rax: 0x3400, ..exit(exit_reason::IO, 0x604_0001) }, 0), Action::PowerOff);
}

fn reply_of(actions: u64) -> MachineReply {
    reply(actions)
}

#[test]
fn interrupts_are_posted_and_taken() {
    let mut exits = exits();
    write_msr(&mut exits, 0x80f, 0x1ff, 0);
    let reply = write_msr(&mut exits, 0x83f, 0x41, 0);
    assert_eq!((reply.actions, reply.post), (MachineReply::ADVANCE | MachineReply::POST, 0x41));
    let reply = write_msr(&mut exits, 0x83f, 0xf1, 0x41);
    assert_eq!(reply.post, 0xf1, "a higher one replaces it");
    // 0xf1 was delivered; 0x41 waits until it has ended.
    let reply = write_msr(&mut exits, 0x808, 0, 0);
    assert_eq!(reply.actions, MachineReply::ADVANCE);
    let reply = write_msr(&mut exits, 0x80b, 0, 0);
    assert_eq!(reply.post, 0x41);
    // Delivered while a timer fires.
    exits.cpu.posted.set(0);
    exits.pc.msr_write(0x83f, 0x51, 0).unwrap();
    exits.interrupt().unwrap();
    assert_eq!(exits.cpu.posted.get(), 0x51);
    exits.interrupt().unwrap();
    assert_eq!(exits.pc.msr_read(0x812, 0), Ok(1 << 1), "0x41 is in service");
}

#[test]
fn an_exit_before_a_post_does_not_count_as_delivery() {
    let mut exits = exits();
    write_msr(&mut exits, 0x80f, 0x1ff, 0);
    exits.pc.msr_write(0x83f, 0x61, 0).unwrap();
    exits.interrupt().unwrap();
    // The exit happened before: its record says that nothing is posted, but the kernel still has the vector.
    assert_eq!(write_msr(&mut exits, 0x808, 0, 0).post, 0x61);
    assert_eq!(exits.pc.msr_read(0x823, 0), Ok(1 << 1), "still requested");
    // Now it was delivered.
    exits.cpu.posted.set(0);
    assert_eq!(write_msr(&mut exits, 0x808, 0, 0).actions, MachineReply::ADVANCE);
    assert_eq!(exits.pc.msr_read(0x813, 0), Ok(1 << 1), "in service");
}

#[test]
fn a_deadline_in_the_past_interrupts_at_once() {
    let mut exits = exits();
    write_msr(&mut exits, 0x80f, 0x1ff, 0);
    write_msr(&mut exits, 0x832, 0x400ec, 0);
    assert_eq!(write_msr(&mut exits, 0x6e0, 999, 0).post, 0xec);
}

#[test]
fn unknown_msrs_and_instructions_raise_exceptions() {
    let mut exits = exits();
    let event = |reply: MachineReply| (reply.actions, reply.event);
    let protection = (MachineReply::INJECT, u64::from(Event::exception(13, Some(0)).information));
    assert_eq!(event(write_msr(&mut exits, 0x1234, 0, 0)), protection);
    let read = MachineExit { rcx: 0x1234, ..exit(exit_reason::RDMSR, 0) };
    assert_eq!(
        event(replied({
            exits.exited(&read);
            exits.serve(&read, 0)
        })),
        protection
    );
    let vmx = replied(exits.serve(&exit(exit_reason::VMXON, 0), 0));
    assert_eq!(event(vmx), (MachineReply::INJECT, u64::from(Event::exception(6, None).information)));
    let read = MachineExit { rcx: 0x803, ..exit(exit_reason::RDMSR, 0) };
    assert_eq!(
        replied({
            exits.exited(&read);
            exits.serve(&read, 0)
        })
        .rax,
        0x5_0014
    );
}

#[test]
fn device_memory_is_emulated_and_absent_memory_reads_as_ones() {
    let mut exits = exits();
    // mov eax, [rdi+0x10] at the I/O APIC; its register 0 is its identifier.
    exits.memory.write(GuestPhysical::new(0xc000), &[0x8b, 0x47, 0x10]).unwrap();
    exits.cpu.state.borrow_mut().rip = 0xc000;
    exits.cpu.state.borrow_mut().gpr[register::RDI] = 0xffff_8000_0000_0000;
    assert_eq!(replied(exits.serve(&exit(exit_reason::EPT_VIOLATION, 1), 0)), reply_of(0));
    assert_eq!(exits.cpu.state.borrow().gpr[register::RAX], 1 << 24);
    assert_eq!(exits.cpu.state.borrow().rip, 0xc003);
    exits.cpu.state.borrow_mut().rip = 0xc000;
    exits.cpu.state.borrow_mut().gpr[register::RDI] = 0x1f_0000;
    replied(exits.serve(&exit(exit_reason::EPT_VIOLATION, 1), 0));
    assert_eq!(exits.cpu.state.borrow().gpr[register::RAX], 0xffff_ffff);
}

#[test]
fn unknown_cpuid_leaves_are_zero() {
    let mut exits = exits();
    let leaf = MachineExit { rax: 0x4000_0010, ..exit(exit_reason::CPUID, 0) };
    assert_eq!(
        replied({
            exits.exited(&leaf);
            exits.serve(&leaf, 0)
        })
        .actions,
        MachineReply::ADVANCE
    );
    let state = exits.cpu.state.borrow();
    assert_eq!([register::RAX, register::RBX, register::RCX, register::RDX].map(|name| state.gpr[name]), [0; 4]);
}

#[test]
fn what_cannot_go_on_says_where_it_was() {
    let mut exits = exits();
    exits.cpu.state.borrow_mut().rip = 0x1234;
    let Action::Fail(text) = exits.serve(&exit(exit_reason::TRIPLE_FAULT, 0), 0) else { panic!() };
    assert!(text.contains("triple fault") && text.contains("RIP 0x1234, CR3 0x1000"), "{text}");
    let failed = exit(exit_reason::INVALID_GUEST_STATE | exit_reason::ENTRY_FAILURE, 0);
    assert!(
        matches!({ exits.exited(&failed); exits.serve(&failed, 0) }, Action::Fail(text) if text.contains("reason 33"))
    );
    // movups to absent memory
    exits.memory.write(GuestPhysical::new(0xc000), &[0x0f, 0x11, 0x07]).unwrap();
    exits.cpu.state.borrow_mut().rip = 0xc000;
    assert!(matches!(exits.serve(&exit(exit_reason::EPT_VIOLATION, 1), 0), Action::Fail(_)));
}

proptest! {
    #[test]
    fn no_exit_panics(
        sequence in prop::collection::vec((0u32..70, any::<[u64; 7]>()), 1..60),
        failed in any::<bool>(),
    ) {
        let mut exits = exits();
        for (reason, [qualification, guest_physical, rax, rcx, rdx, posted, rbx]) in sequence {
            let reason = u64::from(reason) | if failed && rbx & 15 == 0 { 1 << 31 } else { 0 };
            let exit = MachineExit { reason, qualification, guest_physical, rax, rcx, rdx, posted, rbx };
            let action = { exits.exited(&exit); exits.serve(&exit, rax) };
            if let Action::Reply(reply) = action {
                prop_assert_eq!(reply.actions & !MachineReply::ALL, 0);
                prop_assert!(reply.post == 0 || (16..256).contains(&reply.post));
            }
            prop_assert!(exits.interrupt().is_ok());
        }
    }
}
