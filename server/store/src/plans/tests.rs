use contract::link::StoredPlan;
use planner::document::estimate::EngineVersion;
use planner::document::plan::EngineName;
use planner::{Bytes, Estimate, Plan};

use crate::StoreError;
use crate::testing::{T0, temporary};

fn stored(id: &str, prompt: u64) -> StoredPlan {
    let plan: Plan = serde_json::from_value(serde_json::json!({
        "schema": 1, "model": { "id": "meta-llama/Llama-3.1-8B" }, "gpu": { "id": "h100-sxm-80gb", "price_per_hour": 2.37 },
        "workload": { "kind": "serve", "prompt_tokens": prompt }
    }))
    .unwrap();
    let engine = EngineVersion { name: EngineName::Candle, version: "0.11.1".to_owned(), variant: None };
    let mut estimate = Estimate::empty(engine);
    estimate.per_gpu.total = Bytes(u64::MAX);
    StoredPlan { id: id.to_owned(), plan, estimate, planner_version: "0.1.0".to_owned(), created_at: T0 }
}

#[tokio::test]
async fn a_link_answers_the_same_for_ever() {
    let (_folder, store) = temporary().await;
    let first = stored("0123456789", 2048);
    assert!(store.put_plan(&first).await.unwrap());
    let mut later = first.clone();
    later.created_at = T0.plus_ms(1000);
    later.planner_version = "0.2.0".to_owned();
    assert!(!store.put_plan(&later).await.unwrap(), "the same plan and answer are one link");
    let error = store.put_plan(&stored("0123456789", 4096)).await.unwrap_err();
    assert!(matches!(error, StoreError::PlanTaken(_)), "{error:?}");
    assert_eq!(store.plan("0123456789").await.unwrap(), Some(first));
    assert_eq!(store.plan("absent").await.unwrap(), None);
}
