//! The cache: whole contexts, allocated for every slot.

use crate::ggml::GgmlType;
use crate::model::{Mixer, Model};

/// Cells of a slot: the context, padded to 256 (`llama_context`'s `n_ctx_seq`).
pub(super) const fn cells(tokens: u64) -> u64 {
    tokens.div_ceil(256).saturating_mul(256)
}

/// Sums over the layers before each one, by what they keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cache {
    /// Bytes of a cell in the layers that keep the whole context.
    full: Vec<u64>,
    /// Window in tokens, and bytes of a cell in the layers that keep no more.
    windows: Vec<(u64, Vec<u64>)>,
    /// Bytes of a slot's recurrent states.
    state: Vec<u64>,
}

/// What one layer keeps.
struct Kept {
    window: Option<u64>,
    /// Bytes of a cell.
    cell: u64,
    /// Bytes of a slot's state.
    state: u64,
}

impl Cache {
    pub(super) fn of(model: &Model, kind: GgmlType) -> Self {
        let row = |elements: u64| {
            // A row is whole blocks.
            elements.div_ceil(kind.block_elements()).saturating_mul(kind.block_bytes())
        };
        let each: Vec<Kept> = model
            .layers
            .iter()
            .map(|layer| match &layer.mixer {
                Mixer::Attention(a) => Kept {
                    window: a.window.map(|w| w.0),
                    cell: row(a.kv_width()).saturating_mul(2),
                    state: 0,
                },
                // One latent row; the values are a view of it.
                Mixer::Latent(a) => Kept { window: None, cell: row(a.cache_elements_per_token()), state: 0 },
                // Both in fp32: `R` and `S` of `llama_memory_recurrent`.
                Mixer::Recurrent(r) => Kept {
                    window: None,
                    cell: 0,
                    state: r.conv_state_elements().saturating_add(r.state_elements()).saturating_mul(4),
                },
            })
            .collect();
        let sums = |of: &dyn Fn(&Kept) -> u64| {
            let mut sum = 0u64;
            std::iter::once(0)
                .chain(each.iter().map(|layer| {
                    sum = sum.saturating_add(of(layer));
                    sum
                }))
                .collect::<Vec<u64>>()
        };
        let mut kinds: Vec<u64> = each.iter().filter_map(|l| l.window).collect();
        kinds.sort_unstable();
        kinds.dedup();
        Self {
            full: sums(&|l| if l.window.is_none() { l.cell } else { 0 }),
            windows: kinds
                .into_iter()
                .map(|w| (w, sums(&move |l: &Kept| if l.window == Some(w) { l.cell } else { 0 })))
                .collect(),
            state: sums(&|l| l.state),
        }
    }

    /// Bytes of `slots` slots of `tokens` tokens in layers `first..last`. A window keeps itself and a micro batch.
    pub(super) fn bytes(&self, first: u64, last: u64, tokens: u64, micro: u64, slots: u64) -> u64 {
        let whole = cells(tokens);
        let windowed = self.windows.iter().fold(0u64, |sum, (window, layers)| {
            let kept = cells(whole.min(window.saturating_add(micro)));
            sum.saturating_add(between(layers, first, last).saturating_mul(kept))
        });
        between(&self.full, first, last).saturating_mul(whole).saturating_add(windowed).saturating_mul(slots)
    }

    /// Bytes of the recurrent states of `slots` slots in layers `first..last`.
    pub(super) fn state(&self, first: u64, last: u64, slots: u64) -> u64 {
        between(&self.state, first, last).saturating_mul(slots)
    }
}

/// What layers `first..last` sum to.
pub(super) fn between(sums: &[u64], first: u64, last: u64) -> u64 {
    let at = |n: u64| usize::try_from(n).ok().and_then(|n| sums.get(n)).or(sums.last()).copied().unwrap_or(0);
    at(last).saturating_sub(at(first))
}
