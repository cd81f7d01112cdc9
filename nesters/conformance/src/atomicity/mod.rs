//! Threads that are stopped, exported, destroyed, recreated and resumed everywhere: nobody can tell.
//!
//! For each call, through each door, there is a scenario ([`plan`]): a *victim* makes the call and others after it, *partners* do what
//! the call needs of others. It is run once undisturbed; then again and again, each time [disturbed](sweep) once, a tick later each time,
//! until the victim and its partners have come to their ends: the victim is stopped, all of its state is exported, it is destroyed, another thread is made
//! from the export and goes on in its place. What all calls have returned, what memory holds, the state of all objects and that of the victim must be as
//! in the undisturbed run.
//!
//! All threads run on time that the test [donates](scene), so that which thread is how far depends on the point of the disturbance
//! only. Where the kernel has interrupts off, a stop lands behind: a sweep goes on there ([`Sweep`](crate::harness::Sweep)), unless it is
//! asked for every tick.
//!
//! To add a call: an entry in the table below; without one it does not compile.

pub mod connections;
pub mod ipc;
pub mod locks;
pub mod memory;
pub mod objects;
pub mod plan;
pub mod references;
pub mod scene;
pub mod sweep;
pub mod threads;

use alloc::vec::Vec;

use protocols::api::Call;

use crate::harness::{Bench, Test, Verdict};
use plan::Plan;
use scene::Door;

/// Tests that sweep the scenarios of `plans`.
fn all(bench: &mut Bench, door: Door, plans: Vec<Plan>) -> Verdict {
    plans.iter().try_for_each(|plan| sweep::sweep(bench, door, plan))
}

/// The table of the scenarios: of calls through both doors, of calls that only native threads make, of more than a
/// call, and of what only machines do.
macro_rules! table {
    (
        both { $($both:ident => $of_both:expr,)* }
        native { $($native:ident => $of_native:expr,)* }
        more { $($more:ident => $of_more:expr,)* }
        machine { $($machine:ident => $of_machine:expr,)* }
    ) => {
        /// Fails to compile if a call is missing.
        const _: fn(Call) = |call| match call {
            $(Call::$both => {})*
            $(Call::$native => {})*
        };

        /// The tests.
        pub const TESTS: &[Test] = &[
            $(
                (concat!("atomicity::native::", stringify!($both)), |bench| all(bench, Door::Native, $of_both(Call::$both))),
                (concat!("atomicity::machine::", stringify!($both)), |bench| all(bench, Door::Machine, $of_both(Call::$both))),
            )*
            $((concat!("atomicity::native::", stringify!($native)), |bench| all(bench, Door::Native, $of_native(Call::$native))),)*
            $(
                (concat!("atomicity::native::", stringify!($more)), |bench| all(bench, Door::Native, $of_more())),
                (concat!("atomicity::machine::", stringify!($more)), |bench| all(bench, Door::Machine, $of_more())),
            )*
            $((concat!("atomicity::machine::", stringify!($machine)), |bench| all(bench, Door::Machine, $of_machine())),)*
        ];
    };
}

table! {
    both {
        MutexCreate => objects::create,
        MutexDestroy => locks::mutex_destroy,
        MutexMove => objects::move_object,
        MutexReference => objects::reference,
        MutexGetState => objects::get_state,
        MutexSetState => locks::mutex_set_state,
        MutexLock => locks::mutex_lock,
        MutexTrylock => locks::mutex_trylock,
        MutexUnlock => locks::mutex_unlock,
        CondCreate => objects::create,
        CondDestroy => locks::cond_destroy,
        CondMove => objects::move_object,
        CondReference => objects::reference,
        CondGetState => objects::get_state,
        CondSetState => objects::get_state,
        CondWait => locks::cond_wait,
        CondSignal => locks::cond_signal,
        CondBroadcast => locks::cond_signal,
        MappingCreate => objects::create,
        MappingDestroy => objects::destroy,
        MappingMove => objects::move_object,
        MappingReference => objects::reference,
        MappingGetState => objects::get_state,
        MappingSetState => memory::mapping_set_state,
        MappingProtect => memory::protect,
        MappingGetCopied => memory::mapping_copied,
        MappingSetCopied => memory::mapping_copied,
        RegionCreate => objects::create,
        RegionDestroy => objects::destroy,
        RegionMove => objects::move_object,
        RegionReference => objects::reference,
        RegionGetState => objects::get_state,
        RegionSetState => memory::region_set_state,
        RegionProtect => memory::protect,
        RegionSearch => memory::region_search,
        RegionTrack => memory::region_track,
        RegionGetDirty => memory::region_get_dirty,
        RegionSetDirty => memory::region_set_dirty,
        PortCreate => objects::create,
        PortDestroy => ipc::port_destroy,
        PortMove => objects::move_object,
        PortReference => objects::reference,
        PortGetState => objects::get_state,
        PortSetState => ipc::port_set_state,
        PortsetCreate => objects::create,
        PortsetDestroy => objects::destroy,
        PortsetMove => objects::move_object,
        PortsetReference => objects::reference,
        PortsetGetState => objects::get_state,
        PortsetSetState => objects::get_state,
        SpaceCreate => objects::create,
        SpaceDestroy => objects::destroy,
        SpaceMove => objects::move_object,
        SpaceReference => objects::reference,
        SpaceGetState => objects::get_state,
        SpaceSetState => memory::space_set_state,
        SpaceSetPolicy => memory::space_set_policy,
        SpaceSetQuotas => memory::space_set_quotas,
        ThreadCreate => objects::create,
        ThreadDestroy => objects::destroy,
        ThreadMove => objects::move_object,
        ThreadReference => objects::reference,
        ThreadGetState => threads::get_state,
        ThreadSetState => threads::set_state,
        ThreadInterrupt => threads::interrupt,
        ThreadSelf => threads::itself,
        ReferenceCreate => objects::create,
        ReferenceDestroy => objects::destroy,
        ReferenceMove => objects::move_object,
        ReferenceCopy => references::copy,
        ReferenceCheck => references::check,
        ReferenceRestrict => references::restrict,
        ReferenceGrant => references::grant,
        ReferenceRevoke => references::revoke,
        IpcCall => ipc::call,
        IpcSend => ipc::send,
        IpcReply => ipc::reply_to,
        IpcWaitReceive => ipc::wait_receive,
        IpcReplyWaitReceive => ipc::reply_wait_receive,
        IpcCallWithReference => ipc::call,
        IpcReplyWaitReceiveWithReference => ipc::reply_wait_receive,
        IpcWaitReceiveWithReference => ipc::wait_receive,
        IpcReplyWithReference => ipc::reply_to,
        ClientConnectSend => connections::connect_send,
        ClientConnectSendOverReceive => connections::connect_send_over_receive,
        ClientSend => connections::client,
        ClientSendOverReceive => connections::client,
        ClientOverReceive => connections::client,
        ClientReceive => connections::client,
        ClientAckSend => connections::client,
        ClientAckSendOverReceive => connections::client,
        ClientDisconnect => connections::client,
        ClientAlert => connections::client,
        ThreadGetConnection => connections::state,
        ThreadMoveConnection => connections::state,
        ThreadConnect => connections::state,
        ServerSend => connections::server,
        ServerSendOverReceive => connections::server,
        ServerOverReceive => connections::server,
        ServerReceive => connections::server,
        ServerAckSend => connections::server,
        ServerAckSendOverReceive => connections::server,
        ServerDisconnect => connections::server,
        ServerAlert => connections::server,
        ServerWaitReceive => connections::server,
        ServerSendWaitReceive => connections::server,
        ServerAckSendWaitReceive => connections::server,
        ThreadSchedule => threads::schedule,
        ThreadSetScheduler => threads::set_scheduler,
        ThreadGetScheduler => threads::get_scheduler,
    }
    native {
        ThreadSetExceptions => threads::set_exceptions,
        ThreadSetHandlers => threads::set_handlers,
        ThreadReturnFromException => threads::return_from_exception,
        ThreadGetSaved => threads::saved,
        ThreadSetSaved => threads::saved,
        ThreadRedirect => threads::redirect,
    }
    more {
        FaultsInStructures => memory::faults_in_structures,
        FaultsInTransfers => connections::faults_in_transfers,
        FaultsOfInstructions => memory::faults_of_instructions,
        Keepers => memory::keepers,
        LongSearches => memory::long_searches,
        LongTransfers => connections::long_transfers,
    }
    machine {
        Exits => threads::exits,
    }
}
