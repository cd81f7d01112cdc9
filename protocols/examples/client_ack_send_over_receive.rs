use protocols::api::Call;
use protocols::libnest::{Exchange, Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, port) = peer.serves(5)?;
    let request = peer.transfer(b"", 8)?;
    let reply = peer.transfer(b"pong", 8)?;
    let last = peer.transfer(b"end", 0)?;
    peer.begin(&[
        (Call::ServerWaitReceive, &[portset, request]),
        (Call::ServerAckSendOverReceive, &[0, reply]),
        (Call::ServerAckSend, &[0, last]),
        (Call::ServerDisconnect, &[]),
    ])?;

    let (mut answer, mut end) = ([0; 4], [0; 3]);
    port.connect_send_over_receive(&mut Exchange::new().send(b"ping").receive(&mut answer));
    let status = Exchange::new().send(b"again").receive(&mut end).client_ack_send_over_receive();
    assert_eq!((status, answer, end), (Status::ReceiveDisconnected, *b"pong", *b"end"));
    Ok(())
}
