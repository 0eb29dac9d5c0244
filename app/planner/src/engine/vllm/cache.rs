//! The paged cache: kinds of layers, groups of equal length, pages of equal size.
//!
//! From `v1/core/kv_cache_utils.py` and `v1/kv_cache_interface.py` (vLLM 0.19): layers of one kind are dealt into groups of as
//! many layers as the rarest kind has; all groups share one pool of blocks, a block being one page for each layer of a group.
//! Where layers keep states, the tokens of an attention page are raised until it is at least as large as a state, and the state
//! is padded to it (`model_executor/models/config.py`, `HybridAttentionMambaModelConfig`).

use crate::model::{Mixer, Model, Recurrent};

/// What a layer of a kind keeps of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Reach {
    /// Every token.
    All,
    /// The last tokens.
    Window(u64),
    /// A state.
    State,
}

/// Layers that share one block table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Group {
    /// What they keep.
    pub(in crate::engine) reach: Reach,
    /// Which layers.
    pub(in crate::engine) layers: Vec<u64>,
}

/// The layout of the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) struct Pages {
    /// Groups, in the order of the layers.
    pub(in crate::engine) groups: Vec<Group>,
    /// Tokens of an attention page.
    pub(in crate::engine) tokens: u64,
    /// Bytes of a page of one layer on one rank.
    pub(in crate::engine) page: u64,
    /// States of one sequence that a state group keeps.
    pub(in crate::engine) states: u64,
    /// Whether every layer has a page of its own size (one group): `page` is then their sum.
    pub(in crate::engine) whole: bool,
}

/// What decides pages beside the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct Setting {
    /// Tensor parallel ranks.
    pub(in crate::engine) tensor: u64,
    /// Bytes of a cached element.
    pub(in crate::engine) element: u64,
    /// Bytes of an element of a convolution's state.
    pub(in crate::engine) convolution_element: u64,
    /// Bytes of an element of a recurrent state.
    pub(in crate::engine) state_element: u64,
    /// Tokens of a page where nothing raises them.
    pub(in crate::engine) tokens: u64,
    /// Whether windows free their pages.
    pub(in crate::engine) groups: bool,
    /// States of one sequence that are kept.
    pub(in crate::engine) states: u64,
}

/// Bytes that one rank keeps of one token in a layer; none for states.
pub(in crate::engine) fn token_bytes(mixer: &Mixer, s: &Setting) -> Option<u64> {
    match mixer {
        Mixer::Attention(a) => {
            // As many heads as each rank has of them, at least one.
            let heads = a.kv_heads.div_ceil(s.tensor.min(a.kv_heads).max(1));
            Some(heads.saturating_mul(a.head_size).saturating_mul(2).saturating_mul(s.element))
        }
        // The latent vector is not divided: every rank needs all of it.
        Mixer::Latent(a) => Some(a.cache_elements_per_token().saturating_mul(s.element)),
        Mixer::Recurrent(_) => None,
    }
}

/// Bytes of a layer's state of one sequence on one rank.
pub(in crate::engine) fn state_bytes(r: &Recurrent, s: &Setting) -> u64 {
    let divide = |n: u64| n.div_ceil(s.tensor.max(1));
    divide(r.conv_state_elements())
        .saturating_mul(s.convolution_element)
        .saturating_add(divide(r.state_elements()).saturating_mul(s.state_element))
}

/// Bytes of one token, summed over layers, pages and padding apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::engine) struct TokenBytes {
    /// Of layers that keep every token.
    all: u64,
    /// Of layers with a window.
    windowed: u64,
    /// The longest window.
    window: u64,
}

impl TokenBytes {
    /// Of the layers `from..to`.
    pub(in crate::engine) fn of(model: &Model, s: &Setting, from: u64, to: u64) -> Self {
        let mut sum = Self::default();
        for (layer, index) in model.layers.iter().zip(0u64..) {
            if !(from..to).contains(&index) {
                continue;
            }
            let bytes = token_bytes(&layer.mixer, s).unwrap_or(0);
            match layer.attention().and_then(|a| a.window).filter(|_| s.groups) {
                Some(window) => {
                    sum.windowed = sum.windowed.saturating_add(bytes);
                    sum.window = sum.window.max(window.0);
                }
                None => sum.all = sum.all.saturating_add(bytes),
            }
        }
        sum
    }

    /// Averaged over the tokens of a sequence of `length`, of which windowed layers keep the last ones.
    pub(in crate::engine) fn averaged(&self, length: u64) -> u64 {
        let kept =
            u128::from(self.windowed) * u128::from(self.window.min(length)) / u128::from(length.max(1));
        self.all.saturating_add(u64::try_from(kept).unwrap_or(u64::MAX))
    }
}

/// The pages of a model's layers.
pub(in crate::engine) fn pages(model: &Model, s: &Setting) -> Pages {
    let mut kinds: Vec<(Reach, u64, Vec<u64>)> = Vec::new();
    let largest_state = model
        .layers
        .iter()
        .filter_map(|l| match &l.mixer {
            Mixer::Recurrent(r) => Some(state_bytes(r, s)),
            _ => None,
        })
        .max()
        .unwrap_or(0);
    for (index, layer) in model.layers.iter().enumerate() {
        let reach = match &layer.mixer {
            Mixer::Attention(a) => match a.window {
                Some(window) if s.groups => Reach::Window(window.0),
                _ => Reach::All,
            },
            Mixer::Latent(_) => Reach::All,
            Mixer::Recurrent(_) => Reach::State,
        };
        let bytes = token_bytes(&layer.mixer, s).unwrap_or(0);
        match kinds.iter_mut().find(|(r, b, _)| *r == reach && *b == bytes) {
            Some((_, _, layers)) => layers.push(index as u64),
            None => kinds.push((reach, bytes, vec![index as u64])),
        }
    }
    let attention: Vec<u64> =
        kinds.iter().filter(|(r, _, _)| *r != Reach::State).map(|(_, b, _)| *b).collect();
    let widest = attention.iter().copied().max().unwrap_or(0);
    // One kind of reach with several widths: one group whose layers have pages of their own sizes.
    let reaches = kinds.iter().filter(|(r, _, _)| *r != kinds[0].0).count();
    if kinds.len() > 1 && reaches == 0 {
        let page = kinds
            .iter()
            .map(|(_, bytes, layers)| bytes.saturating_mul(s.tokens).saturating_mul(layers.len() as u64))
            .fold(0, u64::saturating_add);
        let layers = (0..model.layers.len() as u64).collect();
        let group = Group { reach: kinds[0].0, layers };
        return Pages { groups: vec![group], tokens: s.tokens, page, states: s.states, whole: true };
    }
    let mut tokens = s.tokens;
    if largest_state > 0 && widest > 0 {
        // Kernels want multiples of 16 tokens.
        tokens = tokens.max(largest_state.div_ceil(widest.saturating_mul(16)).saturating_mul(16));
    }
    let page = if widest > 0 { widest.saturating_mul(tokens) } else { largest_state };
    let fewest = kinds.iter().map(|(_, _, l)| l.len()).min().unwrap_or(1);
    let most = kinds.iter().map(|(_, _, l)| l.len()).max().unwrap_or(1);
    // Padding a few layers costs less than splitting into groups of few: vLLM draws the line at one and a half.
    let size = if most * 2 < fewest * 3 { most } else { fewest };
    let mut groups = Vec::new();
    for (reach, _, layers) in kinds {
        let count = layers.len().div_ceil(size);
        for first in 0..count {
            groups.push(Group { reach, layers: layers.iter().copied().skip(first).step_by(count).collect() });
        }
    }
    Pages { groups, tokens, page, states: s.states, whole: false }
}

impl Pages {
    /// Blocks of one group that a sequence of `length` tokens takes; `step` tokens are computed at once.
    const fn group_blocks(&self, reach: Reach, length: u64, step: u64) -> u64 {
        match reach {
            Reach::All => length.div_ceil(self.tokens),
            Reach::Window(window) => {
                let kept = window.saturating_sub(1).saturating_add(step);
                let kept = if kept < length { kept } else { length };
                // A window may begin within a page.
                kept.div_ceil(self.tokens) + 1
            }
            Reach::State => self.states,
        }
    }

    /// Blocks of all groups that a sequence takes at most (`get_max_concurrency_for_kv_cache_config`).
    pub(in crate::engine) fn blocks(&self, length: u64, step: u64) -> u64 {
        self.groups.iter().map(|g| self.group_blocks(g.reach, length, step)).fold(0, u64::saturating_add)
    }

    /// The same without the state groups, and those alone.
    pub(in crate::engine) fn attention_and_state_blocks(&self, length: u64, step: u64) -> (u64, u64) {
        self.groups.iter().fold((0, 0), |(attention, state), g| {
            let blocks = self.group_blocks(g.reach, length, step);
            if g.reach == Reach::State {
                (attention, state + blocks)
            } else {
                (attention.saturating_add(blocks), state)
            }
        })
    }

    /// Blocks of whole pages that sequences with `common` first tokens share. A window leaves them behind.
    pub(in crate::engine) fn common_blocks(&self, common: u64) -> u64 {
        let groups = self.groups.iter().filter(|g| g.reach == Reach::All).count() as u64;
        groups.saturating_mul(common / self.tokens.max(1))
    }

    /// Bytes of a block for the layers `from..to`: as many pages as the largest group has layers there.
    pub(in crate::engine) fn block_bytes(&self, from: u64, to: u64) -> u64 {
        let here = |g: &Group| g.layers.iter().filter(|l| (from..to).contains(l)).count() as u64;
        let largest = self.groups.iter().map(here).max().unwrap_or(0);
        if self.whole {
            // The sum is over all layers; a stage has its share.
            let all = self.groups.iter().map(|g| g.layers.len() as u64).max().unwrap_or(1).max(1);
            return self.page / all * largest;
        }
        self.page.saturating_mul(largest)
    }
}
