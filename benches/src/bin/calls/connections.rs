//! The measured calls on connections: each with its partner's, since neither side gets on without the other.

use crate::partner::Partner;
use crate::rows::{Scene, Serving};
use crate::script::Entry;
use crate::suite::{Cost, Result, Suite};
use alloc::vec::Vec;
use protocols::address::PAGE_SIZE;
use protocols::api::{Buffer, Call, Status, Table, Transfer};
use protocols::libnest::Memory;
use zerocopy::IntoBytes;

/// Bytes of each message, and words that the parameters take.
const LENGTH: u64 = 8;
const WORDS: u64 = 12;

/// Parameters of calls in one Space: to send [`LENGTH`] bytes, with room for twice as many, or for no more.
struct Parameters {
    /// Where what calls change is, and where they are as they were.
    used: u64,
    kept: u64,
}

impl Parameters {
    /// As bytes that lie at `address`.
    fn bytes(address: u64, data: u64, room: u64) -> Vec<u8> {
        let table = |address| Table { address, count: 1 };
        let transfer = Transfer { send: table(address + 64), receive: table(address + 80), ..Transfer::default() };
        let send = Buffer { address: data, length: LENGTH };
        let receive = Buffer { address: data + 64, length: room };
        [transfer.as_bytes(), send.as_bytes(), receive.as_bytes()].concat()
    }

    /// A call that is made with them; `first` is what stands in RDI.
    fn entry(&self, call: Call, first: u64) -> Entry {
        Entry::new(call).with(&[first, self.used]).after_copy(self.kept, self.used, WORDS)
    }
}

const USED: u64 = 0;
const KEPT: u64 = 0x100;
const DATA: u64 = 0x200;

/// Two sides and what they are measured with.
struct Session<'a> {
    partner: &'a Partner,
    /// A Reference to the partner's Port.
    port: u64,
    portset: u64,
    own: Parameters,
    theirs: Parameters,
}

impl Session<'_> {
    fn own(&self, call: Call) -> Entry {
        self.own.entry(call, self.port)
    }

    fn theirs(&self, call: Call) -> Entry {
        self.theirs.entry(call, self.portset)
    }

    /// What an iteration of `calls` costs after `before`, while the partner, after `first`, makes `loops`, whatever they return.
    fn cost(
        &self,
        suite: &mut Suite<'_>,
        before: &[Entry],
        calls: &[Entry],
        first: &[Call],
        loops: &[Call],
    ) -> Result<Cost> {
        let entries =
            |calls: &[Call]| -> Vec<_> { calls.iter().map(|&call| self.theirs(call).returns_anything()).collect() };
        suite.cost_with(before, calls, self.partner, &entries(first), &entries(loops))
    }
}

/// Measures them.
pub fn measure(suite: &mut Suite<'_>, _scene: &Scene) -> Result<()> {
    let partner = Partner::new()?;
    let serving = Serving::new(&partner)?;
    let memory = Memory::allocate(PAGE_SIZE).ok_or(Status::NoMemory)?;
    let room = 2 * LENGTH;
    let own = Parameters { used: memory.address() + USED, kept: memory.address() + KEPT };
    memory.write_bytes(KEPT, &Parameters::bytes(own.used, memory.address() + DATA, room))?;
    let used = partner.buffer(USED, &[])?;
    let data = partner.buffer(DATA, &[])?;
    let theirs = Parameters { used, kept: partner.buffer(KEPT, &Parameters::bytes(used, data, room))? };
    let session = Session { partner: &partner, port: serving.port.address(), portset: partner.sees(0), own, theirs };
    connecting(suite, &session)?;
    sending(suite, &session)?;
    turning(suite, &session)
}

/// Calls that begin and end connections.
fn connecting(suite: &mut Suite<'_>, session: &Session<'_>) -> Result<()> {
    use Call::*;
    let connect = session.own(ClientConnectSend);
    let connecting = session.cost(suite, &[], &[connect], &[], &[ServerWaitReceive])?;
    suite.print(ClientConnectSend, connecting);
    let disconnect = session.own(ClientDisconnect);
    let cost = session.cost(suite, &[], &[connect, disconnect], &[], &[ServerWaitReceive])?;
    suite.print(ClientDisconnect, cost.less(connecting));
    // The reply is complete when the server goes on to its next client.
    let call = session.own(ClientConnectSendOverReceive).returns(Status::ReceiveDisconnected);
    let cost = session.cost(suite, &[], &[call], &[ServerWaitReceive], &[ServerAckSendWaitReceive])?;
    suite.print(ClientConnectSendOverReceive, cost);
    suite.print(ServerAckSendWaitReceive, cost);
    let loops = [ServerAckSend, ServerSendWaitReceive];
    let cost = session.cost(suite, &[], &[call], &[ServerWaitReceive], &loops)?;
    suite.print(ServerSendWaitReceive, cost);
    let cut = call.returns(Status::OverDisconnected);
    let cost = session.cost(suite, &[], &[cut], &[], &[ServerWaitReceive, ServerDisconnect])?;
    suite.print(ServerWaitReceive, cost);
    suite.print(ServerDisconnect, cost);
    Ok(())
}

/// Calls of a sender and a receiver that stay what they are.
fn sending(suite: &mut Suite<'_>, session: &Session<'_>) -> Result<()> {
    use Call::*;
    let connect = session.own(ClientConnectSend);
    let cost = session.cost(suite, &[connect], &[session.own(ClientSend)], &[ServerWaitReceive], &[ServerReceive])?;
    suite.print(ClientSend, cost);
    suite.print(ServerReceive, cost);
    let alert = session.own(ClientAlert);
    let cost = session.cost(suite, &[connect], &[alert], &[ServerWaitReceive], &[ServerReceive])?;
    suite.print(ClientAlert, cost);
    let before = [connect, session.own(ClientOverReceive).returns_anything()];
    let receive = session.own(ClientReceive).returns(Status::MoreData);
    let first = [ServerWaitReceive, ServerAckSend];
    let cost = session.cost(suite, &before, &[receive], &first, &[ServerSend])?;
    suite.print(ClientReceive, cost);
    suite.print(ServerSend, cost);
    let over = session.own(ClientOverReceive).returns(Status::Alerted);
    let cost = session.cost(suite, &[connect], &[over], &[ServerWaitReceive], &[ServerAlert, ServerReceive])?;
    suite.print(ServerAlert, cost);
    Ok(())
}

/// Calls that change who sends.
fn turning(suite: &mut Suite<'_>, session: &Session<'_>) -> Result<()> {
    use Call::*;
    let connect = [session.own(ClientConnectSend)];
    let first = [ServerWaitReceive];
    let [over, ack] = [session.own(ClientOverReceive), session.own(ClientAckSend)];
    let cost = session.cost(suite, &connect, &[over, ack], &first, &[ServerAckSend, ServerOverReceive])?;
    for call in [ClientOverReceive, ClientAckSend, ServerAckSend, ServerOverReceive] {
        suite.print(call, cost);
    }
    let send = session.own(ClientSendOverReceive);
    let cost = session.cost(suite, &connect, &[send, ack], &first, &[ServerAckSend, ServerOverReceive])?;
    suite.print(ClientSendOverReceive, cost);
    let cost = session.cost(suite, &connect, &[over, ack], &first, &[ServerAckSend, ServerSendOverReceive])?;
    suite.print(ServerSendOverReceive, cost);
    let both = session.own(ClientAckSendOverReceive);
    let before = [connect[0], over];
    let cost = session.cost(suite, &before, &[both], &first, &[ServerAckSendOverReceive])?;
    suite.print(ClientAckSendOverReceive, cost);
    suite.print(ServerAckSendOverReceive, cost);
    Ok(())
}
