//! Machines.

use crate::code;
use crate::guest::{self, Guest};
use crate::harness::{Bench, Verdict, fail, require};
use alloc::vec::Vec;
use protocols::address::PAGE_SIZE;
use protocols::api::Rights;
use protocols::exception::MachineReply;
use protocols::libnest::{Memory, Region};
use protocols::virtual_cpu::Groups;
use protocols::virtual_cpu::register::{RAX, RCX, RDI, RSI};

use super::{ALL, PAGES, Two, copied};

pub fn machine(bench: &mut Bench) -> Verdict {
    let mut guest = Guest::new(bench, code::guest_write(), &[(RDI, guest::HOLE + PAGE_SIZE + 8), (RSI, 42)])?;
    let two = Two::new(PAGES)?;
    let mapping = two.show(&guest.space, guest::HOLE)?;
    let exit = guest.start(bench)?;
    require!(guest::port(&exit), Some(guest::END_PORT));
    require!(two.shadow.read::<[u64; 2]>(PAGE_SIZE)?, [101, 42]);
    require!(two.source.read::<u64>(PAGE_SIZE + 8)?, 0);
    require!(copied(&mapping)?, Some((1, 1)));
    // Read first: what the machine's tables hold is replaced.
    for page in [0, 1, 2] {
        for (code, rsi) in [(code::guest_read(), 0), (code::guest_write(), 7), (code::guest_read(), 0)] {
            guest.memory.write_bytes(guest::CODE, code)?;
            let mut state = guest.state()?;
            (state.rip, state.gpr[RDI], state.gpr[RSI]) = (guest::CODE, guest::HOLE + page * PAGE_SIZE, rsi);
            guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
            let exit = guest.reply(bench, MachineReply::default())?;
            require!(guest::port(&exit), Some(guest::END_PORT));
        }
        require!(guest.state()?.gpr[RAX], 7);
        require!(two.words(page)?, [100 + page, 7]);
    }
    // Without memory in the shadow it is an exit.
    two.regions[1].protect(Rights::empty())?;
    guest.memory.write_bytes(guest::CODE, code::guest_write())?;
    let mut state = guest.state()?;
    (state.rip, state.gpr[RDI]) = (guest::CODE, guest::HOLE + 3 * PAGE_SIZE);
    guest.set_state(&state, Groups::INSTRUCTION | Groups::GENERAL)?;
    let exit = guest.reply(bench, MachineReply::default())?;
    require!((exit.reason as u32, exit.guest_physical), (48, guest::HOLE + 3 * PAGE_SIZE));
    Ok(())
}

/// A whole machine is forked: all of its memory, tables and code included, and its virtual CPU's state.
pub fn machines_forked(bench: &mut Bench) -> Verdict {
    let registers = [(RDI, guest::DATA), (RSI, 5), (RCX, 0)];
    let mut first = Guest::new(bench, code::guest_write(), &registers)?;
    let mut second = Guest::new(bench, code::guest_undefined(), &[])?;
    first.memory.write(guest::DATA, &1u64)?;
    let frozen = Region::new(&first.memory, 0, guest::SIZE, Rights::READ | Rights::EXECUTE)?;
    let shadows = [Memory::allocate(guest::SIZE), Memory::allocate(guest::SIZE)];
    let mut regions = Vec::new();
    for shadow in shadows.iter().flatten() {
        regions.push(Region::new(shadow, 0, guest::SIZE, ALL)?);
    }
    let [of_first, of_second] = &regions[..] else { fail!("no memory") };
    first.mapping.set_shadow([&frozen, of_first], &first.space)?;
    second.mapping.set_shadow([&frozen, of_second], &second.space)?;
    let mut state = first.state()?;
    second.set_state(&state, Groups::VMCS | Groups::GENERAL)?;
    let exit = first.start(bench)?;
    require!(guest::port(&exit), Some(guest::END_PORT));
    state.gpr[RSI] = 6;
    second.set_state(&state, Groups::GENERAL)?;
    let exit = second.start(bench)?;
    require!(guest::port(&exit), Some(guest::END_PORT));
    let values =
        [&first.memory, shadows[0].as_ref().unwrap_or(&first.memory), shadows[1].as_ref().unwrap_or(&first.memory)];
    for (memory, value) in values.into_iter().zip([1, 5, 6]) {
        require!(memory.read::<u64>(guest::DATA)?, value);
    }
    for guest in [&first, &second] {
        let mut words = [0; 8];
        let Some(_) = guest.mapping.copied(guest::DATA, &mut words)? else { fail!("nothing was copied") };
        require!(words[0] & 1, 1);
        guest.cpu.stop()?;
    }
    Ok(())
}
