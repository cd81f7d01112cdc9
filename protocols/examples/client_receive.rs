use protocols::api::Call;
use protocols::libnest::{Exchange, Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, port) = peer.serves(5)?;
    let request = peer.transfer(b"", 8)?;
    let reply = peer.transfer(b"pong", 0)?;
    peer.begin(&[
        (Call::ServerWaitReceive, &[portset, request]),
        (Call::ServerAckSend, &[0, reply]),
        (Call::ServerDisconnect, &[]),
    ])?;

    let (mut first, mut rest) = ([0; 1], [0; 3]);
    let status = port.connect_send_over_receive(&mut Exchange::new().send(b"ping").receive(&mut first));
    assert_eq!((status, first), (Status::MoreData, *b"p"));
    let status = Exchange::new().receive(&mut rest).client_receive();
    assert_eq!((status, rest), (Status::ReceiveDisconnected, *b"ong"));
    Ok(())
}
