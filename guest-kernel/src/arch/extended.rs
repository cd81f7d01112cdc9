//! The state that a CPU keeps for a virtual CPU outside the VMCS: x87, SSE and AVX registers, debug addresses,
//! KERNEL_GS_BASE. It stays in the CPU while the kernel and native threads run, which use none of it.

use super::cpu;
use super::physical::Frame;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use protocols::virtual_cpu::VirtualCpuState;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An XSAVE area, alone in its frame.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Area {
    /// Standard format (Intel SDM vol. 1, 13.4).
    pub bytes: [u8; 1024],
}

const X87_SSE_AVX: u64 = 7;
static COMPONENTS: AtomicU64 = AtomicU64::new(0);

fn set_xcr0(value: u64) {
    // SAFETY: the value is a subset of what the CPU offers and has the x87 bit; the kernel itself uses none of it.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack)) }
}

/// Finds which components the CPU has. False if it lacks XSAVE.
pub fn initialize() -> bool {
    let cpuid = raw_cpuid::CpuId::new();
    if !cpuid.get_feature_info().is_some_and(|features| features.has_xsave()) {
        return false;
    }
    let offered = raw_cpuid::cpuid!(0xd, 0).eax as u64;
    COMPONENTS.store(offered & X87_SSE_AVX, Ordering::Relaxed);
    set_xcr0(offered & X87_SSE_AVX);
    true
}

/// The components that virtual CPUs can have.
pub fn components() -> u64 {
    COMPONENTS.load(Ordering::Relaxed)
}

/// Saves what the CPU holds of a virtual CPU.
pub fn save(area: &mut Frame<Area>, state: &mut VirtualCpuState) {
    let components = components();
    state.kernel_gs_base = cpu::read_msr(x86::msr::IA32_KERNEL_GSBASE);
    set_xcr0(components);
    // SAFETY: the area is 64-byte aligned, being a frame, and holds the three components; TS is set again so that
    // native threads cannot see the registers.
    unsafe {
        asm!("clts", "xsave64 [{area}]", "mov {scratch}, cr0", "or {scratch}, 8", "mov cr0, {scratch}",
            area = in(reg) area.get_mut(), scratch = out(reg) _,
            in("eax") components as u32, in("edx") 0, options(nostack));
        let (dr0, dr1, dr2, dr3, dr6): (u64, u64, u64, u64, u64);
        asm!("mov {0}, dr0", "mov {1}, dr1", "mov {2}, dr2", "mov {3}, dr3", "mov {4}, dr6",
            out(reg) dr0, out(reg) dr1, out(reg) dr2, out(reg) dr3, out(reg) dr6, options(nomem, nostack));
        state.dr = [dr0, dr1, dr2, dr3];
        state.dr6 = dr6;
    }
}

/// Loads the CPU with the state of a virtual CPU. The area must be one that [`sanitize`] or [`save`] has left.
pub fn load(area: &Frame<Area>, state: &VirtualCpuState) {
    let components = components();
    cpu::write_msr(x86::msr::IA32_KERNEL_GSBASE, state.kernel_gs_base);
    cpu::write_msr(x86::msr::IA32_CSTAR, state.cstar);
    set_xcr0(components);
    // SAFETY: as in `save`; `sanitize` has made the header and MXCSR acceptable to XRSTOR. DR6 holds 32 bits.
    unsafe {
        asm!("clts", "xrstor64 [{area}]", "mov {scratch}, cr0", "or {scratch}, 8", "mov cr0, {scratch}",
            area = in(reg) area.get(), scratch = out(reg) _,
            in("eax") components as u32, in("edx") 0, options(nostack));
        asm!("mov dr0, {0}", "mov dr1, {1}", "mov dr2, {2}", "mov dr3, {3}", "mov dr6, {4}",
            in(reg) state.dr[0], in(reg) state.dr[1], in(reg) state.dr[2], in(reg) state.dr[3],
            in(reg) state.dr6 & 0xffff_ffff, options(nomem, nostack));
    }
    set_xcr0(state.xcr0 & components | 1);
}

/// Makes an area that a nester supplied one that XRSTOR takes: MXCSR without reserved bits, a header that names no other
/// components, the standard format (Intel SDM vol. 1, 13.8).
pub fn sanitize(area: &mut Area) {
    let mxcsr = u32::from_le_bytes([area.bytes[24], area.bytes[25], area.bytes[26], area.bytes[27]]) & 0xffff;
    area.bytes[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    let present = u64::from(area.bytes[512]) & components();
    area.bytes[512..576].fill(0);
    area.bytes[512] = present as u8 | 3;
}
