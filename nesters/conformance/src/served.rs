//! Whom a server works for: seen, and handed to another thread, which replies instead.

use protocols::api::{Call, NativeState, ObjectType, Status};
use protocols::libc::system_call::{self, connection};
use protocols::libnest::{Event, Reference, Thread};
use protocols::virtual_cpu::register::{RAX, RDI, RSI};

use crate::code;
use crate::harness::{Bench, Failure, Test, Verdict, fail, require};
use crate::native::{Answer, DATA, HOLE, Native};

/// The tests.
pub const TESTS: &[Test] = &[
    ("served::another_thread_replies", another_thread_replies),
    ("served::another_keeper_replies", another_keeper_replies),
    ("served::refused", refused),
];

/// A server that has received the call of a client and not replied.
fn server_and_client(bench: &mut Bench) -> Result<(Native, Native), Failure> {
    let (mut server, mut client) = (Native::new(bench)?, Native::new(bench)?);
    let port = server.serves()?;
    system_call::reference_create(client.own_address(DATA))?;
    system_call::reference_copy(port.address(), client.own_address(DATA))?;
    server.begin(code::system_call(), &[(RAX, Call::IpcWaitReceive as u64), (RDI, DATA)])?;
    client.begin(code::system_call(), &[(RAX, Call::IpcCall as u64), (RDI, DATA), (RSI, 5)])?;
    received(bench, &mut server)?;
    Ok((server, client))
}

/// Waits for the exception behind a server's call, and stops it.
fn received(bench: &mut Bench, server: &mut Native) -> Verdict {
    let event = bench.receive();
    let Answer::Done(state) = server.answer(event)? else { fail!("{event:x?}") };
    require!(state.gpr[RAX], Status::Ok as u64);
    require!(bench.receive_until(Some(1)), Event::TimedOut);
    Ok(())
}

/// Hands what the thread of `server` works on to a new one, which replies with `word` while the other is gone.
fn reply_by_another(bench: &mut Bench, server: &mut Native, word: u64) -> Verdict {
    let another = Thread::native(&server.space, &NativeState::default())?;
    let link = Reference::new()?;
    require!(connection::thread_get_served(server.thread.address(), link.address())?, true);
    require!(link.check()?, Some(ObjectType::Thread));
    require!(connection::thread_get_served(another.address(), link.address())?, false);
    require!(link.check()?, None);
    connection::thread_move_served(server.thread.address(), another.address())?;
    require!(connection::thread_get_served(server.thread.address(), 0)?, false);
    drop(core::mem::replace(&mut server.thread, another));
    let soon = bench.microseconds(200);
    require!(bench.receive_until(soon), Event::TimedOut);
    require!(connection::thread_get_served(server.thread.address(), 0)?, true);
    server.begin(code::system_call(), &[(RAX, Call::IpcReply as u64), (RSI, word)])
}

fn another_thread_replies(bench: &mut Bench) -> Verdict {
    let (mut server, mut client) = server_and_client(bench)?;
    reply_by_another(bench, &mut server, 77)?;
    for _ in 0..2 {
        let event = bench.receive();
        let is_client = matches!(event, Event::Exception { alias, .. } if alias == client.alias);
        let child = if is_client { &mut client } else { &mut server };
        let Answer::Done(state) = child.answer(event)? else { fail!("{event:x?}") };
        require!((is_client, state.gpr[RAX], state.gpr[RSI]), (is_client, Status::Ok as u64, 77));
    }
    Ok(())
}

/// The client is a thread with an exception, which cannot tell either.
fn another_keeper_replies(bench: &mut Bench) -> Verdict {
    let (mut keeper, mut child) = (Native::new(bench)?, Native::new(bench)?);
    let port = keeper.serves()?;
    child.space.set_keeper_through(&port)?;
    keeper.begin(code::system_call(), &[(RAX, Call::IpcWaitReceive as u64), (RDI, DATA)])?;
    child.begin(code::read(), &[(RDI, HOLE)])?;
    received(bench, &mut keeper)?;
    // Told to go on, it meets its exception again; then its keeper is another.
    child.space.set_keeper(&child.port)?;
    reply_by_another(bench, &mut keeper, 0)?;
    for _ in 0..2 {
        let event = bench.receive();
        match event {
            Event::Exception { alias, .. } if alias == child.alias => {
                require!(child.answer(event)?, Answer::Exception(14, HOLE));
            }
            event => {
                let Answer::Done(state) = keeper.answer(event)? else { fail!("{event:x?}") };
                require!(state.gpr[RAX], Status::Ok as u64);
            }
        }
    }
    Ok(())
}

fn refused(bench: &mut Bench) -> Verdict {
    let (server, client) = server_and_client(bench)?;
    let (other, _other_client) = server_and_client(bench)?;
    let [server, client, other] = [&server, &client, &other].map(|child| child.thread.address());
    let moved = connection::thread_move_served;
    require!(moved(client, server), Err(Status::NotFound));
    require!(moved(server, server), Err(Status::Refused));
    require!(moved(server, client), Err(Status::Refused));
    require!(moved(server, other), Err(Status::Refused));
    Ok(())
}
