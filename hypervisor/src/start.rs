//! The monitor's start: from the boot loader's hand-over to the kernel's first instruction, each step with a line in the
//! boot log and each thing that can be wrong with its own message.

use protocols::address::{LARGE_PAGE_SIZE as LARGE, PAGE_SIZE};
use protocols::boot_info::Module;
use protocols::virtual_cpu::register::RDI;

use crate::boot::image::{self, Image};
use crate::boot::map::Kind;
use crate::boot::multiboot::{self, Boot};
use crate::boot::prepare;
use crate::boot::tables::{PageTables, tables_needed};
use crate::console::{self, report};
use crate::cpu::Cpu;
use crate::frames::{Class, FrameTable};
use crate::kernel_memory::{self, KernelMemory};
use crate::mtrr::Mtrrs;
use crate::objects::{Chain, Objects};
use crate::physical::{self, Claims};
use crate::register;
use crate::stop::stop;
use crate::vmx::controls::{Pin, Secondary};
use crate::vmx::host::{self, Processor};
use crate::vmx::instruction;
use crate::vmx::support::{self, Support};
use crate::vpid::Vpids;
use crate::world;
use crate::{interrupt, kernel, power};

/// The least memory Nestor starts in.
const MINIMUM_MEMORY: u64 = 64 << 20;

/// Starts everything; called once, by the entry code.
pub fn run(magic: u32, information: u32, started: u64) -> ! {
    console::start(started);
    console::line(format_args!(""));
    // SAFETY: the entry code calls this function once.
    unsafe { interrupt::start() };
    // SAFETY: the entry code passes what the boot loader left, and maps the first 4 GiB.
    let (mut boot, screen) = match unsafe { multiboot::read(magic, information) } {
        Ok(boot) => boot,
        Err(problem) => stop(format_args!("{problem}")),
    };
    if let Some(screen) = screen {
        console::use_screen(screen);
    }
    report("Nestor", format_args!("{} started by {}", env!("CARGO_PKG_VERSION"), boot.loader));
    let support = check_processor();
    let (start, ends) = (physical::own_image(), boot.map.top());
    if boot.map.total() < MINIMUM_MEMORY {
        let total = boot.map.total() >> 20;
        stop(format_args!("too little memory: {total} MiB found, {} MiB needed at least", MINIMUM_MEMORY >> 20));
    }
    if let Err(full) = boot.map.paint(start.0, start.1, Kind::Monitor) {
        stop(format_args!("{full}"));
    }
    report("memory", format_args!("{} MiB, up to {:#x}", boot.map.total() >> 20, ends));
    // SAFETY: the map holds what the boot loader says is free, without the monitor and the modules.
    let mut claims = unsafe { Claims::new(boot.map.clone()) };
    let image = kernel_image(&boot);
    map_all_memory(&mut claims, ends);
    let pool_size = kernel_memory::pool_size(support.width, support.huge_ept, ends);
    let mut claim = |length| {
        let region = claims.claim(length, PAGE_SIZE, Kind::Monitor, true);
        region.unwrap_or_else(|| too_little("the monitor's tables"))
    };
    let (pool, frames) = (claim(pool_size), claim(FrameTable::size_for(ends)));
    let (vmxon, vmcs, bitmap) = (claim(PAGE_SIZE), claim(PAGE_SIZE), claim(PAGE_SIZE));
    let soft_off = boot.rsdp.as_ref().is_some_and(|rsdp| power::read_tables(rsdp));
    report("power-off", format_args!("{}", if soft_off { "by ACPI" } else { "no ACPI tables: not on real machines" }));
    let prepared = prepare::kernel(&mut claims, &image, &support, &boot, started);
    let (start, cut) = prepared.unwrap_or_else(|| too_little("the kernel"));
    if cut {
        report("warning", format_args!("more memory ranges than fit: small free ones are not used"));
    }
    report("kernel", format_args!("{} KiB at {:#x}, entry {:#x}", image.size >> 10, start.image.get(), start.entry));

    let mut frames = FrameTable::new(frames.into_bytes(), support.width);
    for range in claims.map().ranges() {
        let class = if range.kind == Kind::Monitor { Class::Monitor } else { Class::Kernel };
        frames.assign(range.start, range.end, class);
    }
    let pool = Chain::of_region(pool);
    let has_mtrrs = register::cpuid(1, 0).edx >> 12 & 1 != 0;
    let mtrrs = if has_mtrrs { Mtrrs::read(support.width, register::read_msr) } else { Mtrrs::default() };
    let kernel_memory = KernelMemory::build(pool, claims.map(), mtrrs, support.width, support.huge_ept);
    let kernel_memory = kernel_memory.unwrap_or_else(|_| too_little("the kernel's EPT"));
    if host::enable(&support, vmxon).is_err() {
        stop(format_args!("VMXON failed: is another hypervisor running?"));
    }
    let kernel_vmcs = host::prepare_frame(vmcs, support.revision);
    let bitmap_at = bitmap.start();
    bitmap.into_bytes();
    // SAFETY: the VMCS is a frame of the monitor's with the revision in place; the kernel's EPT leaves out everything
    // that the map calls the monitor's.
    unsafe {
        if instruction::vmclear(kernel_vmcs).and_then(|()| instruction::vmptrld(kernel_vmcs)).is_err() {
            stop(format_args!("the processor refuses the kernel's VMCS"));
        }
        if !instruction::fields_exist() {
            stop(format_args!("VT-x of this processor lacks a VMCS field: a newer processor is needed"));
        }
        kernel::write_vmcs(&support, &start, kernel_memory.pointer(), bitmap_at);
    }
    kernel_memory.flush();
    let mut registers = [0; 16];
    registers[RDI] = start.information;
    // SAFETY: the first and only one.
    let objects = unsafe { Objects::new() };
    let cpu =
        Cpu { registers, exits: 0, kernel_vmcs, support, frames, kernel_memory, objects, vpids: Vpids::default() };
    report("entering", format_args!("the kernel"));
    console::release_screen();
    // SAFETY: once; the VMCS was filled above.
    unsafe { world::start(cpu) }
}

fn too_little(what: &str) -> ! {
    stop(format_args!("too little memory: no place for {what}"))
}

fn check_processor() -> Support {
    let brand = raw_cpuid::CpuId::new().get_processor_brand_string();
    report("processor", format_args!("{}", brand.as_ref().map_or("", |brand| brand.as_str().trim())));
    let support = match support::check(&Processor) {
        Ok(support) => support,
        Err(lack) => stop(format_args!("{lack}")),
    };
    let mut features = heapless::String::<80>::new();
    let machine = support.machine;
    for (there, name) in [
        (true, "EPT"),
        (support.vpid, ", VPID"),
        (support.huge_ept, ", 1 GiB pages"),
        (machine.pin & Pin::VIRTUAL_NMIS.bits() != 0, ", virtual NMIs"),
        (machine.secondary & Secondary::ENABLE_INVPCID.bits() != 0, ", INVPCID"),
        (machine.secondary & Secondary::ENABLE_XSAVES_XRSTORS.bits() != 0, ", XSAVES"),
    ] {
        // All of them fit.
        let _ = features.push_str(if there { name } else { "" });
    }
    report("VT-x", format_args!("{features}"));
    support
}

/// Finds and checks the modules that must be there.
fn kernel_image(boot: &Boot) -> Image<'static> {
    let find = |name: &str| boot.modules.iter().find(|module| module.name() == name);
    let missing = |name: &str| -> ! {
        stop(format_args!("boot module `{name}` is missing: the boot loader must load it with `module2 FILE {name}`"))
    };
    let kernel: &Module = find("kernel").unwrap_or_else(|| missing("kernel"));
    let root = find("root").unwrap_or_else(|| missing("root"));
    report(
        "modules",
        format_args!(
            "{} ({} KiB)",
            boot.modules.len(),
            boot.modules.iter().map(|module| module.length).sum::<u64>() >> 10
        ),
    );
    // SAFETY: a module that the boot loader placed; its range is painted as a module, so nothing is put there.
    let bytes = |module: &Module| unsafe { physical::module(module.start, module.length) };
    if !bytes(root).starts_with(b"\x7fELF") {
        stop(format_args!("boot module `root` is damaged: it is not an ELF file"));
    }
    match image::check(bytes(kernel)) {
        Ok(image) => image,
        Err(damage) => stop(format_args!("boot module `kernel` is damaged: {damage}")),
    }
}

/// Replaces the entry code's page tables, which map 4 GiB, by ones that map all memory one to one.
fn map_all_memory(claims: &mut Claims, top: u64) {
    let length = top.max(4 << 30).next_multiple_of(LARGE);
    let tables = 1 + tables_needed(length, LARGE);
    let region = claims.claim(tables * PAGE_SIZE, PAGE_SIZE, Kind::Monitor, false);
    let region = region.unwrap_or_else(|| too_little("the monitor's page tables"));
    let tables = PageTables::new(region, false);
    let root = tables.and_then(|mut tables| tables.map(0, 0, length, 0).is_ok().then_some(tables.root()));
    let root = root.unwrap_or_else(|| too_little("the monitor's page tables"));
    // SAFETY: the new tables map the same addresses to the same memory, and more.
    unsafe { register::write_cr3(root.get()) };
}
