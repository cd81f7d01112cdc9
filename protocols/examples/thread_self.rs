use protocols::libc::system_call::thread_self;
use protocols::libnest::Result;
use protocols::startup::THREAD_ADDRESS;

pub fn example() -> Result<()> {
    // Where its parent has put it.
    assert_eq!(thread_self(), THREAD_ADDRESS);
    Ok(())
}
