//! Programs of another version of the layout, which an earlier daemon has left on
//! devices. They share no map with ours and go on judging by themselves, behind or
//! beside ours, until ours have something in force on the same device. So an upgrade
//! opens nothing, whatever becomes of the files meanwhile.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{
    Kernel, KernelConfig,
    links::take_off,
    pins::{self, OnDevice},
    sys,
};

/// What another version has left.
#[derive(Debug, Default)]
pub(super) struct Predecessor {
    /// By device.
    programs: BTreeMap<u32, Vec<OnDevice>>,
    folders: Vec<PathBuf>,
}

impl Predecessor {
    /// Looks for it; what is left of devices that have gone is removed.
    pub(super) fn find(config: &KernelConfig) -> Self {
        let ours = [pins::maps_dir(&config.bpf_dir), pins::links_dir(&config.bpf_dir)];
        let mut folders = pins::folders(&config.bpf_dir);
        folders.retain(|folder| !ours.contains(folder));
        let mut programs: BTreeMap<u32, Vec<OnDevice>> = BTreeMap::new();
        for one in pins::on_devices(&config.bpf_dir) {
            if one.pin.parent().is_some_and(|folder| ours.iter().any(|one| one == folder)) {
                continue;
            }
            let has_gone = match one.filters {
                Some(_) => sys::device_name(one.ifindex).is_none(),
                None => sys::link_target(&one.pin).is_ok_and(|link| link.ifindex != one.ifindex),
            };
            if !has_gone {
                programs.entry(one.ifindex).or_default().push(one);
            } else if let Err(error) = take_off(&one) {
                tracing::warn!(pin = %one.pin.display(), %error, "a pin without a device stays");
            }
        }
        Self { programs, folders }
    }
}

impl Kernel {
    /// Devices on which programs of another version judge, with their names.
    pub fn judged_by_another_version(&self) -> BTreeMap<u32, String> {
        let name =
            |ifindex| sys::device_name(ifindex).unwrap_or_else(|| format!("device {ifindex}"));
        self.predecessor.programs.keys().map(|ifindex| (*ifindex, name(*ifindex))).collect()
    }

    /// Takes programs of another version off the devices where ours have taken over,
    /// and forgets its maps once none of them is left.
    pub(super) fn retire_predecessor(&mut self) {
        if self.predecessor.folders.is_empty() || self.in_force().is_none() {
            return;
        }
        for ifindex in self.predecessor.programs.keys().copied().collect::<Vec<u32>>() {
            let ours = self.attached_device(ifindex);
            if ours.is_some_and(|one| one.ingress.program.and(one.egress.program).is_some()) {
                self.take_predecessor_off(ifindex);
            }
        }
        self.forget_predecessor();
    }

    /// Takes programs of another version off a device.
    pub(super) fn take_predecessor_off(&mut self, ifindex: u32) {
        let Some(programs) = self.predecessor.programs.get_mut(&ifindex) else { return };
        programs.retain(|one| {
            let outcome = take_off(one);
            if let Err(error) = &outcome {
                tracing::warn!(ifindex, %error, "a program of another version stays");
            }
            outcome.is_err()
        });
        if programs.is_empty() {
            self.predecessor.programs.remove(&ifindex);
            tracing::info!(ifindex, "programs of another version are gone");
        }
    }

    fn forget_predecessor(&mut self) {
        if self.predecessor.programs.is_empty() {
            self.predecessor.folders.retain(|folder| {
                let outcome = fs::remove_dir_all(folder);
                if let Err(error) = &outcome {
                    tracing::warn!(folder = %folder.display(), %error, "an old folder stays");
                }
                outcome.is_err()
            });
        }
    }
}
