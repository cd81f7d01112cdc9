//! Misbehaving as a whole: ways in which a nester can fail, for tests of what holds it.
//!
//! | argument | what the program does |
//! |---|---|
//! | `crash` | writes where it has no memory |
//! | `misuse` | destroys an object that does not exist |
//! | `panic` | panics |
//! | `fail` | ends as failed |
//! | `done` | ends as it should, at once |
//! | `spin` | runs for ever without a call |
//! | `flood` | writes to its console for ever |
//! | `log-flood` | writes to the system's log for ever |
//! | `echo` | writes what is typed to its console, until `.` |
//! | `nonsense` | replies nonsense to exits of machines, and gives them impossible state; then ends as it should |
//! | `silent` | takes an exit of a machine and never replies |
//! | `devices` | reads the firmware's reset vector, reads back what it writes to the screen's text; then ends as it should |
//! | `touch <address>` | reads the device memory at a hexadecimal physical address |
//! | `fill <address>` | has the kernel write to the device memory at a hexadecimal physical address |
//! | `destroy-console` | destroys its console Port, then ends as it should |
#![allow(unsafe_code)]

use protocols::api::Call;
use protocols::exception::MachineReply;
use protocols::libc::console::Console;
use protocols::libc::{device, log, system_call};
use protocols::libnest::server::machine;
use protocols::libnest::{Event, Port, Portset, Result, Server, Space, SpaceKind};
use protocols::parent::{CONSOLE_PORT, MAX_BYTES, Outcome};
use protocols::startup::{DEVICES_ADDRESS, Startup};
use protocols::virtual_cpu::register::RCX;
use protocols::virtual_cpu::{Groups, exit_reason};

use crate::code;
use crate::guest::Guest;
use crate::harness::{Bench, Verdict, require};
use crate::machine::NONSENSE;

/// Plays the role that the arguments name. `None` if they name none.
pub fn play(startup: &'static Startup) -> Option<Outcome> {
    match startup.arguments() {
        "crash" => crash(),
        "misuse" => {
            // Misuse is an exception, so that there is no result.
            let _ = system_call::port_destroy(CONSOLE_PORT + 0x200);
            Some(Outcome::Done)
        }
        "panic" => panic!("as the arguments say"),
        "fail" => Some(Outcome::Failed),
        "done" => Some(Outcome::Done),
        "spin" => loop {
            core::hint::spin_loop();
        },
        "flood" => {
            let mut console = Console::new(startup.parent);
            loop {
                console.write(b"all work and no play makes a dull machine\r\n");
            }
        }
        "log-flood" => loop {
            log::line(format_args!("all work and no play"));
        },
        "echo" => Some(if echo(startup).is_ok() { Outcome::Done } else { Outcome::Failed }),
        "destroy-console" => {
            // The Port exists; if the kernel does not destroy it, the test that plays this role sees it.
            let _ = system_call::port_destroy(CONSOLE_PORT);
            Some(Outcome::Done)
        }
        "devices" => Some(if devices(startup).is_ok() { Outcome::Done } else { Outcome::Failed }),
        "nonsense" => Some(if nonsense(startup).is_ok() { Outcome::Done } else { Outcome::Failed }),
        "silent" => Some(if silent(startup).is_ok() { Outcome::Done } else { Outcome::Failed }),
        arguments => {
            let (role, address) = arguments.split_once(' ')?;
            let address = u64::from_str_radix(address, 16).ok()?;
            match role {
                "touch" => {
                    device::read_u8(address);
                    Some(Outcome::Done)
                }
                "fill" => Some(if fill(address).is_ok() { Outcome::Done } else { Outcome::Failed }),
                _ => None,
            }
        }
    }
}

/// Uses device memory as a driver does: the firmware's at the end of 4 GiB, the screen's below the first MiB.
fn devices(startup: &Startup) -> Verdict {
    const RESET_VECTOR: u64 = 0xffff_fff0;
    /// A PC's firmware begins with a far jump.
    const FAR_JUMP: u8 = 0xea;
    /// The last cell of the page of text that begins at 0xb8000: below what is seen.
    const TEXT: u64 = 0xb_8ffe;
    require!(device::read_u8(RESET_VECTOR), FAR_JUMP);
    for address in [RESET_VECTOR, TEXT] {
        let listed =
            startup.devices().iter().any(|device| (device.start..device.start + device.size).contains(&address));
        require!(listed, true);
    }
    let cell = device::read_u16(TEXT);
    // On a screen that shows pixels nothing answers there.
    if cell != u16::MAX {
        let other = cell ^ 0x0101;
        device::write_u16(TEXT, other);
        require!(device::read_u16(TEXT), other);
        log::line(format_args!("the screen shows text"));
    }
    Ok(())
}

/// Keeps machines as a nester with a defect would.
fn nonsense(startup: &Startup) -> Verdict {
    let bench = &mut Bench::new(startup, 1)?;
    for reply in NONSENSE {
        let mut guest = Guest::new(bench, code::guest_flood(), &[(RCX, 1)])?;
        guest.start(bench)?;
        // The guest is stopped: nothing more comes of it.
        let soon = bench.microseconds(500);
        require!(bench.reply_until(&machine(reply), soon), Event::TimedOut);
    }
    let mut guest = Guest::new(bench, code::guest_flood(), &[(RCX, 1)])?;
    let mut state = guest.state()?;
    state.rflags = 0;
    guest.set_state(&state, Groups::INSTRUCTION)?;
    let mut exit = guest.start(bench)?;
    for _ in 0..1000 {
        require!(exit.reason as u32, exit_reason::INVALID_GUEST_STATE | exit_reason::ENTRY_FAILURE);
        exit = guest.reply(bench, MachineReply::default())?;
    }
    Ok(())
}

/// Takes an exit of a machine, then sleeps for ever.
fn silent(startup: &Startup) -> Verdict {
    let bench = &mut Bench::new(startup, 1)?;
    let mut guest = Guest::new(bench, code::guest_flood(), &[(RCX, 1)])?;
    guest.start(bench)?;
    // A call to a Port that nobody serves: unlike receiving, it does not give the guest up.
    let portset = Portset::new()?;
    let port = Port::new(&portset, 0)?;
    Ok(port.reference().call(&mut [0; 8])?)
}

/// Writes back what is typed.
fn echo(startup: &Startup) -> Result<()> {
    let mut console = Console::new(startup.parent);
    let mut server = Server::new()?;
    console.attach(server.portset(), 0)?;
    loop {
        server.receive(None);
        let mut bytes = [0; MAX_BYTES];
        loop {
            let count = console.read(&mut bytes);
            if count == 0 {
                break;
            }
            console.write(&bytes[..count]);
            console.flush();
            if bytes[..count].contains(&b'.') {
                return Ok(());
            }
        }
    }
}

/// Has the kernel write the state of a Space to device memory.
fn fill(physical: u64) -> Result<()> {
    let space = Space::new(SpaceKind::Native, 8)?;
    let call = Call::SpaceGetState as u64;
    // SAFETY: nothing of the program lies at or above `DEVICES_ADDRESS`.
    unsafe { system_call::raw(call, [space.address(), DEVICES_ADDRESS + physical, 0, 0, 0]) };
    Ok(())
}

/// Writes where there is no memory.
fn crash() -> ! {
    // SAFETY: nothing is mapped at this address, so that the write is an exception, after which nothing runs.
    unsafe {
        core::arch::asm!("mov qword ptr [0x10], rax", "ud2", options(noreturn, nostack));
    }
}
