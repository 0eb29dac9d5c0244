//! The fields of the form, from which the page is drawn and the answer is read.

use contract::axis::Name;
use contract::case::Variant;
use contract::cuda::{EventTracking, ReleaseThreshold};
use planner::document::plan::{CacheKind, Checkpointing, Optimizer};
use planner::document::precision::CachePrecision;

/// A field, apart from the models, which are a list of boxes of their own.
#[derive(Debug)]
pub struct Field {
    /// Its name in the form; that of the sweep's field where there is one.
    pub name: &'static str,
    /// Its name on the page.
    pub label: &'static str,
    /// What is accepted, and what leaving it empty means.
    pub hint: &'static str,
    /// How it is set.
    pub kind: Kind,
}

/// How a field is set.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// By typing.
    Text,
    /// By ticking some of these words; none: the default.
    Words(fn() -> Vec<&'static str>),
    /// By choosing one of these values, each with its words.
    One(&'static [(&'static str, &'static str)]),
    /// By ticking it.
    Switch,
    /// By choosing one of the devices of the runners that are online.
    Device,
    /// By choosing one of those runners.
    Runner,
}

/// Fields that stand together.
#[derive(Debug)]
pub struct Group {
    /// A stable name.
    pub id: &'static str,
    /// Its heading; empty for the first, whose fields are always in sight.
    pub title: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

/// The group whose settings only CUDA devices have.
pub const CUDA: &str = "cuda";

const fn field(name: &'static str, label: &'static str, hint: &'static str, kind: Kind) -> Field {
    Field { name, label, hint, kind }
}

fn words<T: Name>() -> Vec<&'static str> {
    T::all().into_iter().map(|(word, _)| word).collect()
}

/// Every field, by group; the rare ones are in the later groups.
pub static GROUPS: [Group; 6] = [
    Group {
        id: "first",
        title: "",
        fields: &[
            field("precisions", "Precisions", "", Kind::Text),
            field("batches", "Sequences at once", "1,2,4 or 1..8 or 1..64*2; empty: 1", Kind::Text),
            field("prompts", "Prompt, tokens", "128 or 128..4096*2; empty: 128", Kind::Text),
            field(
                "generates",
                "Generate, tokens",
                "32 or 0..64+16; empty: 32, or 0 where models embed or are trained",
                Kind::Text,
            ),
            field("repetitions", "Timed repetitions", "after one warm-up; empty: 3", Kind::Text),
            field("device", "Device", "", Kind::Device),
            field("runner_id", "Runner", "", Kind::Runner),
            field("name", "Name", "may be left empty", Kind::Text),
        ],
    },
    Group {
        id: "ways",
        title: "Decoder, attention and cache",
        fields: &[
            field(
                "variants",
                "Decoder",
                "none ticked: plimsoll where it computes every model, else stock",
                Kind::Words(words::<Variant>),
            ),
            field(
                "attentions",
                "Attention",
                "eager, memory-efficient, flash, sliding-window:512, longformer:WINDOW:GLOBALS, \
                 big-bird:BLOCK:WINDOW:GLOBALS:RANDOM; empty: the decoder's own",
                Kind::Text,
            ),
            field("caches", "Cache", "of plimsoll; none ticked: its own", Kind::Words(words::<CacheKind>)),
            field(
                "kv_caches",
                "Numbers in the cache",
                "of plimsoll; none ticked: as it computes",
                Kind::Words(words::<CachePrecision>),
            ),
        ],
    },
    Group {
        id: "edge",
        title: "Memory limit and edge",
        fields: &[
            field(
                "memory_limit",
                "Memory limit",
                "2GiB or 600MB, of a case's tensors and workspaces; empty: all there is",
                Kind::Text,
            ),
            field(
                "edge",
                "Search the largest",
                "that fits; on a cpu within a memory limit",
                Kind::One(&[
                    ("", "nothing: run each case as it is"),
                    ("batch", "batch, for each length"),
                    ("context", "context, for each batch"),
                ]),
            ),
            field(
                "edge_limit",
                "Search up to",
                "empty: 65536 sequences, or what the model takes",
                Kind::Text,
            ),
            field("edge_resolution", "Search within", "sequences or tokens; empty: 1, exact", Kind::Text),
        ],
    },
    Group {
        id: "training",
        title: "Training",
        fields: &[
            field(
                "trainings",
                "Train",
                "full, lora:RANK, qlora:RANK; lora:8:q_proj+v_proj has adapters there alone; empty: no training",
                Kind::Text,
            ),
            field("optimizers", "Optimizer", "none ticked: adamw", Kind::Words(words::<Optimizer>)),
            field(
                "checkpointings",
                "Checkpointing",
                "full keeps the layers' inputs alone; none ticked: none",
                Kind::Words(words::<Checkpointing>),
            ),
            field("accumulations", "Accumulation", "micro batches a step, 1,4; empty: 1", Kind::Text),
            field("mixed", "Mixed precision", "16 bit beside fp32 masters", Kind::Switch),
        ],
    },
    Group {
        id: "quality",
        title: "Quality and seed",
        fields: &[
            field(
                "quality",
                "Quality over",
                "tokens of a text, 4 to 65536, as 4096; perplexity and agreement with the unquantised model; empty: not \
                 computed",
                Kind::Text,
            ),
            field("seed", "Seed", "of prompts and random weights; empty: 0", Kind::Text),
        ],
    },
    Group {
        id: CUDA,
        title: "CUDA",
        fields: &[
            field(
                "release_thresholds",
                "Kept by the memory pool",
                "0: nothing that is unused, the driver's default; max: all",
                Kind::Words(words::<ReleaseThreshold>),
            ),
            field(
                "event_tracking",
                "Events of each allocation",
                "none ticked: on, cudarc's default",
                Kind::Words(words::<EventTracking>),
            ),
        ],
    },
];

/// Every field.
pub fn all() -> impl Iterator<Item = &'static Field> {
    GROUPS.iter().flat_map(|group| group.fields)
}
