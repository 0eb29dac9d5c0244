//! Rules against `SGLang`'s source.

use serde_json::json;

use super::defaults::{NEWEST, Rules, rules};
use super::*;

/// `mem_fraction_static`, `chunked_prefill_size`, `cuda_graph_max_bs` worked out by hand from `server_args.py`.
#[test]
fn defaults_follow_the_release_the_gpu_and_the_ranks() {
    for (rules, mib, tensor, fraction, step, batch) in [
        // 0.4.6: at most 80 GiB by ranks, else 13 GiB less.
        (Rules::Ranks, 81_559, 1, 0.88, 8192, 160),
        (Rules::Ranks, 81_559, 8, 0.81, 8192, 160),
        (Rules::Ranks, 143_771, 8, 0.907, 8192, 256),
        (Rules::Ranks, 24_564, 1, 0.88, 2048, 8),
        // 0.5.2: (81559 - 10 · 1024) / 81559; (24564 - 2.9 · 1024) / 24564; (183359 - 32768) / 183359.
        (Rules::Size, 81_559, 1, 0.874, 8192, 160),
        (Rules::Size, 24_564, 1, 0.879, 2048, 8),
        (Rules::Size, 183_359, 8, 0.821, 16_384, 512),
        // 0.5.4: 512 + 12288 + 512 + 128 MiB; with eight ranks 512 + 12288 + 1024 + 1024.
        (Rules::Steps, 81_559, 1, 0.835, 8192, 256),
        (Rules::Steps, 81_559, 8, 0.818, 8192, 512),
        // 512 + 3072 + 32 + 128 MiB of 24564.
        (Rules::Steps, 24_564, 1, 0.848, 2048, 16),
    ] {
        let got = rules.defaults(mib, tensor, 1, None, None, 0);
        assert_eq!(
            (got.fraction, got.step, got.largest_batch),
            (fraction, step, batch),
            "{rules:?} {mib} {tensor}"
        );
    }
}

/// `[1, 2, 4, 8] + 16..160 step 8` is 23; with `12` and to 256 it is 36; 512 adds 15 steps of 16 and itself.
#[test]
fn captured_batches_are_those_of_the_list() {
    for (rules, mib, tensor, graphs) in
        [(Rules::Size, 81_559, 1, 23), (Rules::Steps, 81_559, 1, 36), (Rules::Steps, 81_559, 8, 52)]
    {
        assert_eq!(rules.defaults(mib, tensor, 1, None, None, 0).graphs, graphs);
    }
}

#[test]
fn releases_outside_the_table_are_refused() {
    assert_eq!(rules(None).unwrap(), (Rules::Steps, NEWEST.to_owned()));
    assert_eq!(rules(Some("0.4.6.post5")).unwrap().0, Rules::Ranks);
    assert_eq!(rules(Some("0.5.2")).unwrap().0, Rules::Size);
    for given in ["0.3.6", "0.5.23", "latest"] {
        assert_eq!(rules(Some(given)).unwrap_err().field, "engine.version");
    }
}

fn plan(change: &serde_json::Value) -> Plan {
    let mut plan = json!({
        "schema": 1, "model": {"id": "meta-llama/Llama-3.1-8B"}, "gpu": {"id": "h100-sxm-80gb"},
        "engine": {"name": "sglang", "version": "0.5.2"},
        "workload": {"kind": "serve", "prompt_tokens": 7680, "output_tokens": 512}
    });
    for (key, value) in change.as_object().unwrap() {
        match (plan[key].as_object_mut(), value.as_object()) {
            (Some(old), Some(new)) => old.extend(new.clone()),
            _ => plan[key] = value.clone(),
        }
    }
    serde_json::from_value(plan).unwrap()
}

/// The pool is the share of what was free, less the weights, by the bytes of a token: 32 layers of 8 heads of 128 elements.
#[test]
fn the_pool_is_what_the_share_leaves_by_token() {
    let e = crate::estimate(&plan(&json!({}))).unwrap();
    assert_eq!(e.kv.bytes_per_token, Bytes(32 * 8 * 128 * 2 * 2));
    let before = 81_090 * (1 << 20) - e.per_gpu.runtime.0 - e.per_gpu.context.0;
    let budget = vllm::share(before, 0.874);
    assert_eq!(e.kv.pool_tokens, (budget - e.per_gpu.weights.0) / 131_072);
    assert!(e.fits);
}

#[test]
fn half_the_cache_element_gives_twice_the_tokens() {
    let tokens = |change| crate::estimate(&plan(&change)).unwrap().kv.pool_tokens;
    let (bf16, fp8) = (tokens(json!({})), tokens(json!({"precision": {"kv_cache": "fp8"}})));
    assert_eq!(fp8 / 2, bf16);
}

#[test]
fn what_sglang_cannot_do_is_refused_by_field() {
    for (change, field) in [
        (json!({"gpu": {"id": "cpu"}}), "gpu.id"),
        (json!({"parallelism": {"tensor": 5}}), "parallelism.tensor"),
        (json!({"parallelism": {"tensor": 4, "data": 3, "expert": 3}}), "parallelism.expert"),
        (json!({"precision": {"kv_cache": "q4_0"}}), "precision.kv_cache"),
        (json!({"workload": {"gpu_layers": 1}}), "workload.gpu_layers"),
        (json!({"cache": {"kind": "growing"}}), "cache.kind"),
    ] {
        let error = crate::estimate(&plan(&change)).expect_err(&change.to_string());
        assert_eq!(error.field, field, "{change}");
    }
}

#[test]
fn the_command_carries_what_was_planned() {
    let change = json!({"parallelism": {"tensor": 2}});
    assert_eq!(
        crate::estimate(&plan(&change)).unwrap().command.unwrap(),
        "python -m sglang.launch_server --model-path meta-llama/Llama-3.1-8B --tp-size 2 --context-length 8192 \
         --chunked-prefill-size 8192 --mem-fraction-static 0.868"
    );
}
