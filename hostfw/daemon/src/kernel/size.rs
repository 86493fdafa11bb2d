//! How large the programs are, as the kernel says it: the steps of the verifier
//! and the bytes of both forms.

use super::{Kernel, KernelError, object};

/// One loaded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its name.
    pub program: &'static str,
    /// Instructions that the verifier has walked through, of at most a million;
    /// `None` where the kernel does not tell (before Linux 5.16).
    pub verified: Option<u32>,
    /// Bytes after the verifier has rewritten it.
    pub translated_bytes: u32,
    /// Bytes of machine code; 0 where the kernel interprets.
    pub machine_bytes: u32,
}

impl Kernel {
    /// The programs on the hooks.
    ///
    /// # Errors
    /// A program that the kernel does not describe.
    pub fn sizes(&mut self) -> Result<Vec<Size>, KernelError> {
        self.complete()?;
        let mut sizes = Vec::new();
        for name in object::NAMES {
            let failed = KernelError::program(name);
            let program =
                self.enforcing.program(name).ok_or(KernelError::Missing { what: name })?;
            let info = program.info().map_err(failed)?;
            sizes.push(Size {
                program: name,
                verified: info.verified_instruction_count(),
                translated_bytes: info.size_translated().unwrap_or(0),
                machine_bytes: info.size_jitted(),
            });
        }
        Ok(sizes)
    }
}
