//! x
use planner::*;
use std::time::Instant;
fn main() {
    for (m, g) in [
        ("meta-llama/Llama-3.1-8B", "h100-sxm-80gb"),
        ("meta-llama/Llama-3.1-70B", "b200-sxm-192gb"),
        ("meta-llama/Llama-3.1-405B", "rtx-4090-24gb"),
        ("google/gemma-3-1b", "l4-24gb"),
    ] {
        let p = link::from_query(&format!("model={m}&gpu={g}&context=2048&output=512&batch=4")).unwrap();
        let t = Instant::now();
        let e = estimate(&p);
        let a = t.elapsed();
        let t = Instant::now();
        let b = solve::largest_batch(&p);
        let c = t.elapsed();
        let t = Instant::now();
        let l = solve::longest_context(&p);
        let d = t.elapsed();
        println!(
            "{m} {a:?} {} | {c:?} {b:?} | {d:?} {l:?}",
            e.map(|e| format!("{} {}", e.per_gpu.total, e.fits)).unwrap_or_else(|e| e.to_string())
        );
    }
}
