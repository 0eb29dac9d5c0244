#![cfg(feature = "ssr")]

use super::*;
use crate::link;

fn answered() -> Estimate {
    planner::estimate(&link::first_plan().unwrap()).unwrap()
}

#[test]
fn the_bar_shows_every_component_and_sums_to_the_total() {
    let mut estimate = answered();
    estimate.kv.pool_bytes = estimate.per_gpu.kv_cache + Bytes(1 << 30);
    let p = &mut estimate.per_gpu;
    (p.recurrent_state, p.gradients, p.optimizer) = (Bytes(1 << 20), Bytes(2 << 20), Bytes(3 << 20));
    (p.auxiliary, p.cuda_graphs) = (Bytes(4 << 20), Bytes(5 << 20));
    p.total += Bytes((1 << 30) + (15 << 20));
    let parts = components(&estimate);
    let sum = parts.iter().fold(Bytes::ZERO, |sum, (_, _, bytes)| sum + *bytes);
    assert_eq!(sum, estimate.per_gpu.total);
    let colours: std::collections::BTreeSet<_> = parts.iter().map(|part| part.1).collect();
    assert_eq!(colours.len(), parts.len(), "each has a colour of its own");
}

#[test]
fn a_pool_that_is_too_small_is_told() {
    let mut estimate = answered();
    estimate.fits = false;
    estimate.kv.pool_tokens = 1234;
    let html = view! { <Summary estimate /> }.to_html();
    assert!(html.contains("Does not fit.") && html.contains("1,234 tokens"), "{html}");
}

#[test]
fn host_memory_is_shown_where_there_is_some() {
    let mut estimate = answered();
    let html = view! { <WhereItGoes estimate=estimate.clone() /> }.to_html();
    assert!(!html.contains("Host memory"), "{html}");
    (estimate.host.weights, estimate.host.total) = (Bytes(3 << 30), Bytes(3 << 30));
    let html = view! { <WhereItGoes estimate /> }.to_html();
    assert!(html.contains("Host memory") && html.contains("3.00 GiB"), "{html}");
}
