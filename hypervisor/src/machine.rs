//! Machines: made of donated frames, taken down step by step into the same frames.
//!
//! A machine's first frame is its control frame, and the frame's number its identifier. Three more hold its root EPT
//! table, policy and MSR bitmap; the rest wait in a chain for EPT tables and virtual CPUs.

use protocols::address::{GuestPhysical, HostPhysical, PAGE_SIZE};
use protocols::machine::{EptEntry, MACHINE_FRAMES, Status};
use protocols::policy::{Controls, CpuidEntry, Kind, MsrEntry};

use crate::cpu::Cpu;
use crate::ept::{self, Ept, GUEST_LIMIT};
use crate::frames::{Class, FrameTable};
use crate::objects::{Chain, ChainTables, KernelList, read_entry};
use crate::policy;
use crate::virtual_cpu;
use crate::vmx::instruction;

/// Tables taken down, or frames given back, in one step of a machine's end.
const STEP: usize = 64;

/// A machine, in its control frame.
#[derive(Debug)]
pub struct Machine {
    /// Root table of its EPT.
    pub root: HostPhysical,
    /// Its policy.
    pub policy: HostPhysical,
    /// Its MSR bitmap.
    pub bitmap: HostPhysical,
    /// Donated frames that are not in use.
    pub free: Chain,
    /// Its first virtual CPU's identifier, 0 for none.
    pub first: u64,
    /// It is being destroyed: nothing else is done with it.
    pub ending: bool,
    /// All is taken down but the control frame.
    bare: bool,
}

/// The machine `id`, if it is not being destroyed.
fn find(cpu: &mut Cpu, id: u64) -> Result<(&mut Machine, &mut FrameTable<'static>), Status> {
    let machine = cpu.objects.machine(&cpu.frames, id).filter(|machine| !machine.ending).ok_or(Status::NoObject)?;
    Ok((machine, &mut cpu.frames))
}

/// Takes the frames of a list from the kernel, all or none.
fn take(cpu: &mut Cpu, list: KernelList) -> Result<Chain, Status> {
    // The list itself may lie in a frame that the kernel donates with it: read it before anything is written. Inside a
    // page it has at most 512 words.
    let frames: heapless::Vec<_, 512> = (0..list.count()).map(|index| HostPhysical::new(list.read(index))).collect();
    for (index, &frame) in frames.iter().enumerate() {
        let taken = cpu
            .frames
            .take(frame, Class::Donated)
            .and_then(|()| cpu.kernel_memory.remove(frame).inspect_err(|_| cpu.frames.set(frame, Class::Kernel)));
        if let Err(status) = taken {
            frames[..index].iter().for_each(|&frame| return_to_kernel(cpu, frame));
            return Err(status);
        }
    }
    cpu.kernel_memory.flush();
    let mut chain = Chain::EMPTY;
    for frame in frames {
        // SAFETY: the frame is memory that no EPT maps any more.
        unsafe { chain.push(frame) };
    }
    Ok(chain)
}

/// Gives a frame back to the kernel.
fn return_to_kernel(cpu: &mut Cpu, frame: HostPhysical) {
    cpu.frames.set(frame, Class::Kernel);
    // The tables for this frame are there: it was mapped before.
    let _ = cpu.kernel_memory.restore(frame);
}

/// [`protocols::machine::Call::CreateMachine`]: returns the identifier.
pub fn create(cpu: &mut Cpu, list: KernelList) -> Result<u64, Status> {
    if list.count() < MACHINE_FRAMES as u64 {
        return Err(Status::NoFrames);
    }
    let mut free = take(cpu, list)?;
    let mut next = || free.pop().ok_or(Status::NoFrames);
    let (control, root, policy, bitmap) = (next()?, next()?, next()?, next()?);
    // Translations of an earlier machine with the same root must not live on. The pointer is valid: it cannot fail.
    let _ = instruction::invept(Ept::pointer(root));
    let machine = Machine { root, policy, bitmap, free, first: 0, ending: false, bare: false };
    let id = control.get() / PAGE_SIZE;
    // SAFETY: the frames were just taken out of the chain.
    unsafe { cpu.objects.place(&mut cpu.frames, control, machine) };
    if let Some((_, bitmap)) = cpu.objects.policy(&cpu.frames, id) {
        policy::initialise_bitmap(bitmap);
    }
    Ok(id)
}

/// [`protocols::machine::Call::Donate`].
pub fn donate(cpu: &mut Cpu, id: u64, list: KernelList) -> Result<(), Status> {
    find(cpu, id)?;
    let mut taken = take(cpu, list)?;
    let (machine, _) = find(cpu, id)?;
    while let Some(frame) = taken.pop() {
        // SAFETY: a donated frame, out of its chain.
        unsafe { machine.free.push(frame) };
    }
    Ok(())
}

/// [`protocols::machine::Call::DonatedFrames`].
pub fn donated_frames(cpu: &mut Cpu, id: u64) -> Result<u64, Status> {
    find(cpu, id).map(|(machine, _)| machine.free.count)
}

/// Checks an entry of an EPT batch. What it maps is checked when it is mapped.
fn check(entry: &EptEntry) -> Result<(), Status> {
    let length = u64::from(entry.frames) * PAGE_SIZE;
    let addresses =
        entry.guest.is_multiple_of(PAGE_SIZE) && (entry.rights == 0 || entry.host.is_multiple_of(PAGE_SIZE));
    let ends = entry.guest.checked_add(length).is_some_and(|end| end <= GUEST_LIMIT)
        && (entry.rights == 0 || entry.host.checked_add(length).is_some());
    let rights = entry.rights == 0 || entry.rights <= 15 && entry.rights & EptEntry::READ != 0;
    let memory_type = matches!(u64::from(entry.memory_type) << 3, ept::UNCACHEABLE | ept::WRITE_BACK);
    match (addresses && ends, rights && memory_type) {
        (true, true) => Ok(()),
        (false, _) => Err(Status::BadAddress),
        (_, false) => Err(Status::BadArgument),
    }
}

/// [`protocols::machine::Call::UpdateEpt`]: returns the status and how many entries were applied. The entry that was refused may have
/// been applied in part, up to the frame that was refused; applying it again is harmless.
pub fn update_ept(cpu: &mut Cpu, id: u64, list: KernelList) -> (Status, Option<u64>) {
    let huge = cpu.support.huge_ept;
    let (machine, frames) = match find(cpu, id) {
        Ok(found) => found,
        Err(status) => return (status, Some(0)),
    };
    let ept = Ept::new(machine.root, huge);
    let mut tables = ChainTables { chain: &mut machine.free, leaves: frames };
    let (mut flush, mut applied, mut result) = (false, 0, Ok(()));
    while applied < list.count() && result.is_ok() {
        let entry: EptEntry = list.read(applied);
        let guest = GuestPhysical::new(entry.guest);
        let length = u64::from(entry.frames) * PAGE_SIZE;
        result = check(&entry)
            .and_then(|()| {
                if entry.rights == 0 {
                    ept.unmap(&mut tables, guest, length)
                } else {
                    let ept = ept.with_leaves(entry.rights & EptEntry::SMALL != 0);
                    ept.map(&mut tables, guest, HostPhysical::new(entry.host), length, entry.rights)
                }
            })
            .map(|changed| flush |= changed);
        // A refused entry may have changed something before it was refused.
        flush |= result.is_err();
        applied += u64::from(result.is_ok());
    }
    if flush {
        // The pointer is valid: it cannot fail.
        let _ = instruction::invept(Ept::pointer(machine.root));
    }
    (result.err().unwrap_or(Status::Ok), Some(applied))
}

/// [`protocols::machine::Call::SetPolicy`].
pub fn set_policy(cpu: &mut Cpu, id: u64, kind: Kind, address: u64, count: u64) -> Result<(), Status> {
    find(cpu, id)?;
    let list = match kind {
        Kind::Cpuid => KernelList::check::<CpuidEntry>(&cpu.frames, address, count),
        Kind::Msr => KernelList::check::<MsrEntry>(&cpu.frames, address, count),
        Kind::Controls if count == 1 => KernelList::check::<Controls>(&cpu.frames, address, count),
        Kind::Controls => return Err(Status::BadArgument),
    };
    let list = list.ok_or(Status::BadAddress)?;
    let (policy, bitmap) = cpu.objects.policy(&cpu.frames, id).ok_or(Status::NoObject)?;
    match kind {
        Kind::Cpuid => policy.set_cpuid((0..count).map(|index| list.read(index)))?,
        Kind::Msr => (0..count).try_for_each(|index| policy.set_msr(list.read(index), bitmap))?,
        Kind::Controls => {
            policy.set_controls(list.read(0), cpu.support.xcr0)?;
            virtual_cpu::create::apply_controls(cpu, id);
        }
    }
    Ok(())
}

/// [`protocols::machine::Call::DestroyMachine`]: writes frames that are the kernel's again to `list`; returns how many.
pub fn destroy(cpu: &mut Cpu, id: u64, list: KernelList) -> Result<u64, Status> {
    let Some(machine) = cpu.objects.machine(&cpu.frames, id) else {
        // Gone, which a repeated call may find, or never there.
        let gone = cpu.frames.is_number(id, Class::Kernel);
        return if gone { Ok(0) } else { Err(Status::NoObject) };
    };
    machine.ending = true;
    loop {
        let Some(machine) = cpu.objects.machine(&cpu.frames, id) else { return Ok(0) };
        if machine.first == 0 {
            break;
        }
        let first = machine.first;
        virtual_cpu::create::destroy(cpu, first)?;
    }
    let huge = cpu.support.huge_ept;
    loop {
        let Some(machine) = cpu.objects.machine(&cpu.frames, id) else { return Ok(0) };
        if !machine.bare {
            let mut tables = ChainTables { chain: &mut machine.free, leaves: &mut cpu.frames };
            if Ept::new(machine.root, huge).prune(&mut tables, &mut STEP.clone()) {
                machine.bare = true;
                for frame in [machine.root, machine.policy, machine.bitmap] {
                    // SAFETY: nothing uses these frames any more: there are no virtual CPUs and no mappings.
                    unsafe { machine.free.push(frame) };
                }
            }
        }
        let (given, done) = give_back(cpu, id, list);
        if given > 0 || done {
            return Ok(given);
        }
    }
}

/// Gives free frames back, the control frame last. Returns how many, and whether there is no way on.
fn give_back(cpu: &mut Cpu, id: u64, list: KernelList) -> (u64, bool) {
    let limit = list.count().min(STEP as u64);
    let mut given = 0;
    while given < limit {
        let Some(machine) = cpu.objects.machine(&cpu.frames, id) else { break };
        let frame = match machine.free.pop() {
            Some(frame) => frame,
            None if machine.bare => {
                let frame = HostPhysical::new(id * PAGE_SIZE);
                let mut chain = Chain::EMPTY;
                // SAFETY: the control frame; `machine` is not used any more. The chain zeroes it.
                unsafe { chain.push(frame) };
                chain.pop().unwrap_or(frame)
            }
            None => break,
        };
        return_to_kernel(cpu, frame);
        list.write(given, frame.get());
        given += 1;
    }
    (given, limit == 0)
}

/// Reads four words of a guest's memory at `guest`, for PAE page-directory pointers.
pub fn read_pointers(frames: &FrameTable, root: HostPhysical, guest: GuestPhysical) -> Option<[u64; 4]> {
    let (host, _) = Ept::new(root, true).translate(read_entry, guest)?;
    let list = KernelList::check::<u64>(frames, host.get(), 4)?;
    Some([0, 1, 2, 3].map(|index| list.read(index)))
}
