use protocols::api::Call;
use protocols::libc::system_call::connection::client_disconnect;
use protocols::libnest::{Exchange, Peer, Result, Status};

pub fn example() -> Result<()> {
    let mut peer = Peer::new()?;
    let (portset, port) = peer.serves(5)?;
    let request = peer.transfer(b"", 8)?;
    let reply = peer.transfer(b"pong", 8)?;
    peer.begin(&[(Call::ServerWaitReceive, &[portset, request]), (Call::ServerAckSendOverReceive, &[0, reply])])?;

    let mut answer = [0; 4];
    let status = port.connect_send_over_receive(&mut Exchange::new().send(b"ping").receive(&mut answer));
    // The server has said all, and waits for more.
    assert_eq!((status, answer), (Status::Ok, *b"pong"));
    assert_eq!(Exchange::new().send(b"again").client_ack_send(), Status::Ok);
    client_disconnect()?;
    peer.finish()?;
    assert_eq!(peer.received(reply, 4)?, *b"again");
    Ok(())
}
