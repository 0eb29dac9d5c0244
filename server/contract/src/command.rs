//! A case as the command line that repeats it.

use crate::case::{CaseSpec, Device, attention_word};
use crate::edge::EdgeSpec;
use crate::measurement::Measurement;

/// Stands for the folder of a model that only the reader knows.
pub const FOLDER: &str = "<FOLDER OF THE MODEL>";

/// The `bench-runner run` that measures `spec` again, as it was measured: with as many threads and, where memory over time was
/// kept, keeping it. A model that the catalogue lacks is a file or a folder of the machine that measured it: the command
/// leaves [`FOLDER`] in its place.
#[must_use]
pub fn case_command(spec: &CaseSpec, measured: Option<&Measurement>) -> String {
    let mut words = vec!["bench-runner run --model".to_owned(), quoted(&spec.model)];
    if planner::catalogue::model(&spec.model).is_none() {
        words.push(format!("--models-dir {}", quoted(FOLDER)));
    }
    words.push(format!("--precision {}", quoted(&spec.precision)));
    words.push(format!("--variant {}", spec.decoder().as_str()));
    if let Some(attention) = &spec.attention {
        words.push(format!("--attention {}", attention_word(attention)));
    }
    if let Some(cache) = spec.cache {
        words.push(format!("--cache {}", cache.as_str()));
    }
    if let Some(kv_cache) = spec.kv_cache {
        words.push(format!("--kv-cache {kv_cache}"));
    }
    if let Some(training) = &spec.training {
        words.push(training.options());
    }
    if let Some(threshold) = spec.release_threshold {
        words.push(format!("--release-threshold {}", threshold.as_str()));
    }
    if let Some(tracking) = spec.event_tracking {
        words.push(format!("--event-tracking {}", tracking.as_str()));
    }
    words.push(format!(
        "--batch {} --prompt {} --generate {} --device {} --repetitions {}",
        spec.batch, spec.prompt_tokens, spec.generate_tokens, spec.device, spec.repetitions
    ));
    let threads = measured.and_then(|m| m.threads).filter(|_| spec.device == Device::Cpu);
    words.extend(threads.map(|threads| format!("--threads {threads}")));
    if let Some(tokens) = spec.quality {
        words.push(format!("--quality {tokens}"));
    }
    if let Some(limit) = spec.memory_limit {
        words.push(format!("--memory-limit {}B", limit.0));
    }
    if spec.seed != 0 {
        words.push(format!("--seed {}", spec.seed));
    }
    if let Some(EdgeSpec { axis, limit, resolution }) = spec.edge {
        words.push(format!("--edge {axis} --edge-resolution {resolution}"));
        words.extend(limit.map(|limit| format!("--edge-limit {limit}")));
    }
    if measured.is_some_and(|m| m.memory_trace.is_some()) {
        words.push("--memory-trace".to_owned());
    }
    words.join(" ")
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use planner::document::plan::{Attention, CacheKind, Checkpointing, TrainMethod};
    use planner::document::precision::CachePrecision;
    use planner::{Bytes, Tokens};

    use super::{case_command, quoted};
    use crate::case::{CaseSpec, Device, Variant};
    use crate::cuda::{EventTracking, ReleaseThreshold};
    use crate::edge::{EdgeAxis, EdgeSpec};
    use crate::measurement::Measurement;
    use crate::telemetry::MemoryTrace;
    use crate::training::Training;

    fn spec() -> CaseSpec {
        CaseSpec {
            model: "HuggingFaceTB/SmolLM2-135M".to_owned(),
            precision: "bf16".to_owned(),
            device: Device::Cuda(1),
            batch: 2,
            prompt_tokens: Tokens(512),
            generate_tokens: Tokens(64),
            repetitions: 5,
            ..CaseSpec::default()
        }
    }

    fn command(spec: &CaseSpec) -> String {
        case_command(spec, None)
    }

    #[test]
    fn a_command_can_be_pasted() {
        assert_eq!(
            command(&spec()),
            "bench-runner run --model HuggingFaceTB/SmolLM2-135M --precision bf16 --variant stock --batch 2 --prompt 512 \
             --generate 64 --device cuda:1 --repetitions 5"
        );
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_command_names_the_folder_that_is_to_be_filled_in() {
        let file = CaseSpec { model: "it's mine".to_owned(), ..spec() };
        let start =
            r"bench-runner run --model 'it'\''s mine' --models-dir '<FOLDER OF THE MODEL>' --precision";
        assert!(command(&file).starts_with(start), "{}", command(&file));
    }

    #[test]
    fn a_command_keeps_how_it_was_computed() {
        let big_bird =
            Attention::BigBird { block: Tokens(64), window_blocks: 3, global_blocks: 2, random_blocks: 1 };
        for (attention, word) in [
            (Attention::Eager, "eager"),
            (Attention::MemoryEfficient, "memory-efficient"),
            (Attention::Flash, "flash"),
            (Attention::SlidingWindow { window: Tokens(4096) }, "sliding-window:4096"),
            (Attention::Longformer { window: Tokens(512), global_tokens: Tokens(1) }, "longformer:512:1"),
            (big_bird, "big-bird:64:3:2:1"),
        ] {
            let command = command(&CaseSpec { attention: Some(attention), ..spec() });
            assert!(command.contains(&format!(" --attention {word} --batch")), "{command}");
        }
        let ours = CaseSpec {
            variant: Some(Variant::Plimsoll),
            cache: Some(CacheKind::Rotating),
            kv_cache: Some(CachePrecision::Int8),
            release_threshold: Some(ReleaseThreshold::Max),
            event_tracking: Some(EventTracking::Off),
            quality: Some(Tokens(4096)),
            ..spec()
        };
        let ours = command(&ours);
        let ways = "--variant plimsoll --cache rotating --kv-cache int8 --release-threshold max --event-tracking off";
        assert!(ours.contains(&format!(" {ways} --batch")), "{ours}");
        assert!(ours.ends_with(" --repetitions 5 --quality 4096"), "{ours}");
        let limited = CaseSpec {
            memory_limit: Some(Bytes::from_mib(600)),
            seed: 7,
            edge: Some(EdgeSpec { limit: Some(64), ..EdgeSpec::exact(EdgeAxis::Batch) }),
            ..spec()
        };
        let limited = command(&limited);
        let end = " --memory-limit 629145600B --seed 7 --edge batch --edge-resolution 1 --edge-limit 64";
        assert!(limited.ends_with(end), "{limited}");
    }

    #[test]
    fn a_command_trains_what_was_trained() {
        let mut training = Training::of(TrainMethod::Full, None);
        (training.checkpointing, training.gradient_accumulation) = (Checkpointing::Full, 4);
        let trained = command(&CaseSpec {
            variant: Some(Variant::Plimsoll),
            training: Some(training),
            generate_tokens: Tokens(0),
            ..spec()
        });
        let options = "--train full --optimizer adamw --checkpointing full --accumulate 4 --batch 2 --prompt 512 --generate 0";
        assert!(trained.contains(options), "{trained}");
    }

    #[test]
    fn a_command_computes_with_as_many_threads_and_keeps_what_was_kept() {
        let measured = Measurement {
            threads: Some(2),
            memory_trace: Some(MemoryTrace::default()),
            ..Measurement::default()
        };
        for (device, end) in [
            (Device::Cpu, " --device cpu --repetitions 5 --threads 2 --memory-trace"),
            (Device::Cuda(0), " --device cuda:0 --repetitions 5 --memory-trace"),
        ] {
            let command = case_command(&CaseSpec { device, ..spec() }, Some(&measured));
            assert!(command.ends_with(end), "{command}");
        }
    }
}
