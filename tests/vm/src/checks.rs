//! The checks, in the order in which they run: one loads what the next ones
//! use. What they compare is code of the parity tests.

use anyhow::{Context, ensure};
use hostfw_daemon::kernel::{Capacity, Feature, Kernel, Size};
use hostfw_datapath::Reason;
use hostfw_parity::{
    agreement::{Extent, agree},
    host::Host,
    sandbox::Sandbox,
    size,
};

use crate::{guest, report, traffic};

/// What one check leaves to the next.
#[derive(Default)]
pub(crate) struct Checks {
    // Before the sandbox, so that it goes first: its pins are in there.
    kernel: Option<Kernel>,
    sandbox: Option<Sandbox>,
}

type Check = fn(&mut Checks) -> anyhow::Result<()>;

/// Every check by its name.
pub(crate) const ALL: [(&str, Check); 6] = [
    ("the_machine_is_ready", Checks::ready),
    ("probes_find_what_the_version_has", Checks::probes),
    ("programs_load_with_the_daemons_loader", Checks::load),
    ("programs_stay_within_their_bounds", Checks::bounds),
    ("the_kernel_and_the_native_build_agree", Checks::agreement),
    ("real_packets_pass_and_fall", Checks::traffic),
];

/// About ten seconds of an emulated processor.
const EXTENT: Extent = Extent { sets: 8, packets: 400 };

impl Checks {
    fn ready(&mut self) -> anyhow::Result<()> {
        if guest::is_alone() {
            guest::prepare()?;
        }
        report::line("kernel", &Kernel::release());
        Ok(())
    }

    fn load(&mut self) -> anyhow::Result<()> {
        let sandbox = self.sandbox.insert(Sandbox::enter("vm")?);
        self.kernel = Some(sandbox.kernel("pins", Capacity::SMALL)?);
        Ok(())
    }

    fn kernel(&mut self) -> anyhow::Result<&mut Kernel> {
        self.kernel.as_mut().context("no programs are loaded")
    }

    fn bounds(&mut self) -> anyhow::Result<()> {
        let sizes = self.kernel()?.sizes()?;
        for Size { program, verified, translated_bytes, machine_bytes } in &sizes {
            let verified = verified.map_or_else(|| "-".to_owned(), |count| count.to_string());
            let words = format!("{program} {verified} {translated_bytes} {machine_bytes}");
            report::line("program", &words);
        }
        size::bounded(&sizes, size::kernel_version()?)
    }

    fn agreement(&mut self) -> anyhow::Result<()> {
        let host = Host::new()?;
        let coverage = agree(self.kernel()?, &host, EXTENT)?;
        let (judged, refused) = (coverage.judged, coverage.refused);
        report::line(
            "packets",
            &format!(
                "{judged} judged alike for {} reasons, {refused} refused, \
                 {} forwarded ones refused",
                coverage.reasons.len(),
                coverage.refused_forwarded,
            ),
        );
        let drawn = usize::from(EXTENT.sets) * EXTENT.packets;
        ensure!(judged * 10 > drawn * 8, "only {judged} packets were judged");
        ensure!(refused * 20 < judged, "the runner refused {refused} of {judged}");
        let common = [
            Reason::Rule,
            Reason::DefaultDeny,
            Reason::ExplicitDeny,
            Reason::Admitted,
            Reason::Fragment,
            Reason::Malformed,
            Reason::Related,
            Reason::Transit,
        ];
        for reason in common {
            ensure!(coverage.reasons.contains_key(&reason), "no packet was judged {reason}");
        }
        Ok(())
    }

    fn traffic(&mut self) -> anyhow::Result<()> {
        let how = traffic::check(self.kernel()?)?;
        report::line("attached", how.name());
        Ok(())
    }

    /// On Debian's kernels, which bring nothing back, a trial finds what the
    /// version has. Elsewhere a newer feature may be there on an older kernel.
    fn probes(&mut self) -> anyhow::Result<()> {
        let release = Kernel::release();
        let version = size::kernel_version()?;
        for feature in Feature::ALL {
            let found =
                feature.is_there().with_context(|| format!("{feature:?} cannot be tried"))?;
            if !found {
                report::line("lacks", &feature.to_string());
            }
            let expected = version >= feature.since();
            ensure!(found || !expected, "{release} should have it: {feature}");
            ensure!(found == expected || !guest::is_alone(), "{release} has it? {feature}");
        }
        Ok(())
    }
}
