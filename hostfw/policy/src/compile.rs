//! From policies and the world to the image of this node, at once. Pure and
//! deterministic: equal input gives equal words. It does not read text and loads
//! nothing.

use crate::{
    compilation::Compilation,
    compiled::Compiled,
    node::{Options, ThisNode},
    policy::Policy,
    world::World,
};

/// Why policies that were accepted cannot become an image. The generation is
/// refused whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The image would exceed [`MAX_IMAGE_WORDS`].
    #[error("the rules need an image of more than {} MiB", (MAX_IMAGE_WORDS * 4) >> 20)]
    TooLarge,
    /// More peer classes than a peer word can name.
    #[error("the rules tell apart more than 16777216 groups of peers")]
    TooManyPeerClasses,
    /// More port classes than a row can hold.
    #[error("the rules tell apart more than 65536 groups of ports")]
    TooManyPortClasses,
    /// Two rules want different things of the same connections.
    #[error("{what}: {first} and {second}")]
    Conflict {
        /// What they do not agree on.
        what: &'static str,
        /// One rule, as `policy (file:line)`.
        first: String,
        /// The other one.
        second: String,
    },
}

/// No image is larger, so that four of them fit into the memory of a small node
/// (64 MiB each).
pub const MAX_IMAGE_WORDS: usize = 1 << 24;

/// Compiles the policies for one node.
///
/// # Errors
/// The rules contradict each other or need more room than an image has; nothing
/// of them may be used.
pub fn compile(
    policies: &[Policy],
    world: &World,
    node: &ThisNode,
    options: &Options,
    generation: u32,
) -> Result<Compiled, CompileError> {
    let (compilation, mut compiled) = Compilation::new(policies, world, node, options, generation)?;
    let Compilation { mut writer, sets, verdicts, .. } = compilation;
    compiled.words = writer.share();
    compiled.verdicts.sets = sets;
    compiled.verdicts.of_verdict = verdicts.of_verdict;
    Ok(compiled)
}
