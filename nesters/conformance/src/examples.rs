//! The examples of the reference pages in `protocols`: each is a test.
//!
//! An example that finds something else than it expects ends the whole program, with a message that says where.

use crate::harness::{Bench, Test, Verdict};

macro_rules! examples {
    ($($name:ident)*) => {
        $(
            mod $name {
                include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocols/examples/", stringify!($name), ".rs"));

                pub fn test(_: &mut super::Bench) -> super::Verdict {
                    Ok(example()?)
                }
            }
        )*

        /// The tests.
        pub const TESTS: &[Test] = &[$((concat!("example::", stringify!($name)), $name::test)),*];
    };
}

examples! {
    client_ack_send client_ack_send_over_receive client_alert client_connect_send client_connect_send_over_receive
    client_disconnect client_over_receive client_receive client_send client_send_over_receive cond_broadcast
    cond_create cond_destroy cond_get_state cond_move cond_reference cond_set_state cond_signal cond_wait
    connection_state ipc_call ipc_call_with_reference ipc_reply ipc_reply_wait_receive
    ipc_reply_wait_receive_with_reference ipc_reply_with_reference ipc_send ipc_wait_receive
    ipc_wait_receive_with_reference mapping_create mapping_destroy mapping_get_copied mapping_get_state mapping_move
    mapping_protect mapping_reference mapping_set_copied mapping_set_state mapping_state mutex_create mutex_destroy
    mutex_get_state mutex_lock mutex_move mutex_reference
    mutex_set_state mutex_state mutex_trylock mutex_unlock native_state port_create port_destroy port_get_state
    port_move port_reference port_set_state portset_create portset_destroy portset_get_state portset_move
    portset_reference portset_set_state reference_check reference_copy reference_create reference_destroy
    reference_grant reference_move reference_restrict reference_revoke region_create region_destroy region_get_dirty
    region_get_state region_move region_protect region_reference region_search region_set_dirty region_set_state
    region_state region_track server_ack_send server_ack_send_over_receive server_ack_send_wait_receive server_alert
    server_disconnect server_over_receive server_receive server_send server_send_over_receive server_send_wait_receive
    server_wait_receive space_create space_destroy space_get_state space_move space_reference space_set_policy
    space_set_quotas space_set_state space_state thread_connect thread_create thread_destroy thread_get_connection thread_get_saved
    thread_get_scheduler thread_get_state thread_interrupt thread_move thread_move_connection thread_redirect
    thread_reference thread_return_from_exception thread_schedule thread_self thread_set_exceptions
    thread_set_handlers thread_set_saved thread_set_scheduler thread_set_state transfer virtual_cpu_state
}

#[cfg(test)]
mod tests {
    use super::TESTS;
    use std::collections::BTreeSet;

    #[test]
    fn every_example_is_a_test() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocols/examples")).unwrap();
        let files = files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
        let tests = TESTS.iter().map(|(name, _)| name.strip_prefix("example::").unwrap().to_owned());
        assert_eq!(tests.collect::<BTreeSet<_>>(), files.collect::<BTreeSet<_>>());
    }
}
