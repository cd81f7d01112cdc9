//! The state that a CPU keeps for a thread without loading it at each switch: x87, SSE and AVX registers; for a virtual CPU
//! also debug addresses and KERNEL_GS_BASE, which its VMCS does not hold. It stays in the CPU while the kernel, which uses none of
//! it, and other native threads run: CR0.TS keeps those from it until they want state of their own.

use super::physical::Frame;
use super::{cpu, debug};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use protocols::virtual_cpu::{VirtualCpuState, initial_extended};
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
    // SAFETY: the value is one that XSETBV takes ([`is_possible`]), with the x87 bit; the kernel itself uses none of it.
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

/// Whether XSETBV takes these components, and that of x87, which is always there (Intel SDM vol. 1, 13.3).
pub fn is_possible(xcr0: u64) -> bool {
    const SSE: u64 = 2;
    const AVX: u64 = 4;
    xcr0 & !components() == 0 && (xcr0 & AVX == 0 || xcr0 & SSE != 0)
}

/// The components that virtual CPUs can have.
pub fn components() -> u64 {
    COMPONENTS.load(Ordering::Relaxed)
}

/// Keeps native threads from the registers: using them raises #NM.
pub fn close() {
    // SAFETY: TS only makes instructions trap.
    unsafe {
        asm!("mov {scratch}, cr0", "or {scratch}, 8", "mov cr0, {scratch}", scratch = out(reg) _, options(nomem, nostack));
    }
}

/// Lets the running native thread use the registers, which must hold its state or that of nobody.
pub fn open() {
    // SAFETY: the kernel uses none of the registers.
    unsafe { asm!("clts", options(nomem, nostack)) }
}

fn store_registers(area: &mut Frame<Area>) {
    // SAFETY: TS is clear. The area is 64-byte aligned, being a frame, and holds the three components.
    unsafe {
        asm!("xsave64 [{area}]", area = in(reg) area.get_mut(),
            in("eax") components() as u32, in("edx") 0, options(nostack));
    }
}

fn load_registers(area: &Frame<Area>) {
    // SAFETY: as in `store_registers`; `sanitize` has made the header and MXCSR acceptable to XRSTOR.
    unsafe {
        asm!("xrstor64 [{area}]", area = in(reg) area.get(),
            in("eax") components() as u32, in("edx") 0, options(nostack));
    }
}

/// Saves the registers of a native thread, and closes them.
pub fn save_native(area: &mut Frame<Area>) {
    open();
    store_registers(area);
    close();
}

/// Loads the registers with those of a native thread, and opens them. The area must be one that [`sanitize`] or a save has left.
pub fn load_native(area: &Frame<Area>) {
    set_xcr0(components());
    open();
    load_registers(area);
}

/// Saves what the CPU holds of a virtual CPU. The registers stay closed.
pub fn save(area: &mut Frame<Area>, state: &mut VirtualCpuState) {
    state.kernel_gs_base = cpu::read_msr(x86::msr::IA32_KERNEL_GSBASE);
    set_xcr0(components());
    save_native(area);
    (state.dr, state.dr6) = debug::read();
}

/// Loads the CPU with the state of a virtual CPU. The area must be one that [`sanitize`] or a save has left.
pub fn load(area: &Frame<Area>, state: &VirtualCpuState) {
    let components = components();
    cpu::write_msr(x86::msr::IA32_KERNEL_GSBASE, state.kernel_gs_base);
    cpu::write_msr(x86::msr::IA32_CSTAR, state.cstar);
    load_native(area);
    close();
    debug::load_of_virtual_cpu(state.dr, state.dr6);
    set_xcr0(state.xcr0 & components | 1);
}

/// Makes an area that a nester supplied one that XRSTOR takes: MXCSR without reserved bits, a header that names no other
/// components, the standard format (Intel SDM vol. 1, 13.8). x87 and SSE registers that do not hold their initial values count whether the
/// header names them or not.
pub fn sanitize(area: &mut Area) {
    let mxcsr = u32::from_le_bytes([area.bytes[24], area.bytes[25], area.bytes[26], area.bytes[27]]) & 0xffff;
    area.bytes[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    let present = u64::from(area.bytes[512]) & components();
    let initial = initial_extended();
    let differs = |range: core::ops::Range<usize>| area.bytes[range.clone()] != initial[range];
    let x87 = differs(0..24) || differs(32..160);
    let used = u8::from(x87) | u8::from(differs(160..416)) << 1;
    area.bytes[512..576].fill(0);
    area.bytes[512] = present as u8 | used;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_what_is_used() {
        COMPONENTS.store(X87_SSE_AVX, Ordering::Relaxed);
        let header = |change: fn(&mut [u8; 1024])| {
            let mut area = Area { bytes: initial_extended() };
            change(&mut area.bytes);
            sanitize(&mut area);
            let again = area.bytes;
            sanitize(&mut area);
            assert_eq!(area.bytes, again);
            area.bytes[512]
        };
        assert_eq!(header(|_| {}), 0);
        assert_eq!(header(|bytes| bytes[0] = 0x3e), 1);
        assert_eq!(header(|bytes| bytes[159] = 1), 1);
        assert_eq!(header(|bytes| bytes[160] = 1), 2);
        assert_eq!(header(|bytes| bytes[512] = 0xff), 7);
        assert_eq!(header(|bytes| bytes[520] = 0xff), 0);
        assert_eq!(header(|bytes| bytes[27] = 0xff), 0);
    }
}
