//! Measurements of messages between a native child and its parent that are not calls in registers.

use crate::code;
use crate::native::{CODE, COPY, Child, MESSAGE, PARAMETERS, REFERENCE};
use crate::program::{Cost, ITERATIONS, Printer};
use protocols::address::PAGE_SIZE;
use protocols::api::{Buffer, MessageKind, Table, Transfer};
use protocols::libc::system_call;
use protocols::libc::time::{now, transitions};
use protocols::libnest::server::{self, Event};
use protocols::libnest::{Result, Status};
use zerocopy::IntoBytes;

/// What is no way of a notification, but a time slice that ended on it.
const MOST: u64 = 100_000;

/// From the sender's reading the time to its waiting receiver's.
fn one_way(child: &mut Child) -> Result<Cost> {
    child.go(code::ipc_send(), REFERENCE)?;
    let (mut sum, mut count, before) = (0, 0, transitions());
    let portset = child.server.portset().address();
    while let Ok(received) = system_call::ipc_reply_wait_receive(portset, 0, &[0; 8]) {
        let now = now();
        if received.kind != MessageKind::Notification {
            break;
        }
        // Notifications that were sent while the receiver did not wait are merged, to no time at all.
        let ticks = now.wrapping_sub(received.words[0]);
        if ticks < MOST {
            (sum, count) = (sum + ticks, count + 1);
        }
    }
    let transitions = transitions() - before;
    let _ = system_call::ipc_reply(&server::stop());
    Ok(Cost { ticks: sum * ITERATIONS / u64::max(count, 1), transitions })
}

/// Puts the parameters of calls with a page both ways into the child's memory.
fn prepare(child: &Child) -> Result<()> {
    let table = |address| Table { address, count: 1 };
    let (send, receive) = (PARAMETERS + 0x40, PARAMETERS + 0x50);
    let transfer = Transfer { send: table(send), receive: table(receive), ..Transfer::default() };
    let message = Buffer { address: MESSAGE, length: PAGE_SIZE };
    for (at, bytes) in [(0, transfer.as_bytes()), (0x40, message.as_bytes()), (0x50, message.as_bytes())] {
        child.memory.write_bytes(COPY - CODE + at, bytes).map_err(|_| Status::NoMemory)?;
    }
    Ok(())
}

/// Runs a loop whose messages of a page are replied to with pages.
fn transact(child: &mut Child) -> Result<Cost> {
    let before = transitions();
    child.go(code::ipc_transact(), REFERENCE)?;
    let mut buffer = [0; PAGE_SIZE as usize];
    let reply = [1; PAGE_SIZE as usize];
    let mut event = child.server.receive_long(&mut buffer, None);
    while let Event::Connection { length: 4096, status: Status::Ok, .. } = event {
        event = child.server.reply_long_and_receive(&reply, &mut buffer, None);
    }
    let transitions = transitions() - before;
    let _ = system_call::ipc_reply(&server::stop());
    Ok(Cost { ticks: child.ticks()?, transitions })
}

/// Measures them.
pub fn measure(printer: &mut Printer, child: &mut Child) -> Result<()> {
    one_way(child)?;
    printer.print("ipc.oneway", one_way(child)?, Cost { ticks: 0, transitions: 0 });
    prepare(child)?;
    let around = child.measure(code::around_transact(), REFERENCE)?;
    transact(child)?;
    printer.print("ipc.rpc.4k", transact(child)?, around);
    Ok(())
}
