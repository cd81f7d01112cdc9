use protocols::libc::system_call::thread_set_exceptions;
use protocols::libnest::Result;

pub fn example() -> Result<()> {
    assert!(!thread_set_exceptions(true)?);
    assert!(thread_set_exceptions(false)?);
    Ok(())
}
