//! Calls on Spaces.

use super::Done;
use crate::account::{NewQuotas, Payer};
use crate::arena::Id;
use crate::kernel::Kernel;
use crate::memory::hierarchy::Space;
use crate::space::Contents;
use crate::thread::Thread;
use protocols::address::PAGE_SIZE;
use protocols::api::{ObjectType, Quotas, ReferenceRights, Rights, SpaceKind, SpaceState, Status};
use protocols::exception::Misuse;
use protocols::policy::{Controls, CpuidEntry, Kind, MAX_CPUID_ENTRIES, MsrEntry};
use protocols::virtual_cpu::register::RDX;
use zerocopy::{IntoBytes, TryFromBytes};

impl Kernel {
    pub(super) fn get_space(
        &mut self,
        thread: Id<Thread>,
        caller: Id<Space>,
        [address, state, keeper]: [u64; 3],
    ) -> Done {
        let id = self.space_at(caller, address, Rights::READ)?;
        let mut dispatcher = self.dispatcher();
        dispatcher.account();
        dispatcher.pass_time_up();
        let reference = self.optional_reference(caller, keeper)?;
        let Some(space) = self.objects.spaces.get(id) else { return Ok(Status::NotFound) };
        let (keeper, patience) = (space.keeper.capability(), space.patience);
        let kind = if matches!(space.contents, Contents::Machine(_)) { SpaceKind::Machine } else { SpaceKind::Native };
        let (allowance, used) = space.account.frames();
        let payer = space.account.payer().and_then(|payer| self.objects.payers.get(payer));
        let (objects, objects_used) = payer.map_or((0, 0), Payer::objects);
        let (cpu, time, time_below) = payer.map_or((0, 0, 0), |payer| payer.time.used());
        let kind = kind as u64;
        let value = SpaceState { kind, allowance, used, objects, objects_used, cpu, time, time_below };
        if state != 0 {
            self.write(caller, state, value.as_bytes())?;
        }
        self.point(reference, keeper);
        self.set_result(thread, RDX, patience)
    }

    pub(super) fn set_space(&mut self, caller: Id<Space>, address: u64, keeper: u64, patience: u64) -> Done {
        let space = self.space_at(caller, address, Rights::WRITE)?;
        let keeper = self.optional_link(caller, keeper, ObjectType::Port, ReferenceRights::CALL)?;
        self.set_keeper(keeper, |objects| Some(&mut objects.spaces.get_mut(space)?.keeper));
        if let Some(space) = self.objects.spaces.get_mut(space).filter(|_| patience != 0) {
            space.patience = patience;
        }
        Ok(Status::Ok)
    }

    /// `space_set_quotas`.
    pub(super) fn set_quotas(&mut self, caller: Id<Space>, [address, frames, objects, cpu]: [u64; 4]) -> Done {
        let space = self.space_at(caller, address, Rights::WRITE)?;
        if !self.objects.is_above(caller, space) {
            return Err(Misuse::NoRight.into());
        }
        let given = |quota: u64| Some(quota).filter(|&quota| quota != Quotas::UNCHANGED);
        if given(cpu).is_some_and(|cpu| cpu > Quotas::WHOLE_CPU) {
            return Err(Misuse::BadArgument.into());
        }
        let memory = given(frames).map(|frames| frames.saturating_mul(PAGE_SIZE));
        Ok(match self.objects.set_quotas(space, NewQuotas { memory, objects: given(objects) }) {
            Ok(()) => {
                given(cpu).into_iter().for_each(|share| self.set_share(space, share));
                Status::Ok
            }
            Err(status) => status,
        })
    }

    pub(super) fn set_space_policy(
        &mut self,
        caller: Id<Space>,
        address: u64,
        kind: u64,
        entries: u64,
        count: u64,
    ) -> Done {
        let id = self.space_at(caller, address, Rights::WRITE)?;
        let Some(Contents::Machine(machine)) = self.objects.spaces.get(id).map(|space| &space.contents) else {
            return Err(Misuse::WrongType.into());
        };
        let machine = *machine;
        let kind = Kind::try_read_from_bytes(kind.as_bytes()).map_err(|_| Misuse::BadArgument)?;
        let (size, most) = match kind {
            Kind::Cpuid => (size_of::<CpuidEntry>(), MAX_CPUID_ENTRIES),
            Kind::Msr => (size_of::<MsrEntry>(), PAGE_SIZE as usize / size_of::<MsrEntry>()),
            Kind::Controls => (size_of::<Controls>(), 1),
        };
        if count == 0 || count > most as u64 {
            return Err(Misuse::BadArgument.into());
        }
        let page = self.list.address();
        self.copy(caller, entries, size * count as usize, Rights::READ, |physical, range| {
            let mut bytes = [0; 512];
            range.clone().step_by(bytes.len()).all(|start| {
                let part = &mut bytes[..(range.end - start).min(512)];
                crate::arch::physical::read(physical.offset((start - range.start) as u64), part)
                    && crate::arch::physical::write(page.offset(start as u64), part)
            })
        })?;
        Ok(self.set_policy(machine, kind as u64, count as usize))
    }
}
