use contract::case::{Case, CaseFilter, CaseSpec, CaseStatus, Device};
use contract::edge::{Edge, EdgeAxis, EdgeSpec};
use contract::explore::{CaseLine, CaseListing, CaseQuery, Facet, Order};
use contract::ids::{CaseId, UnixMillis};
use contract::measurement::Measurement;
use contract::points::CaseDetail;
use contract::run::{CASES_OF_PAGE, Run, RunFilter};
use contract::training::Training;
use planner::document::estimate::EngineVersion;
use planner::document::plan::{Attention, CacheKind, EngineName, Lora, TrainMethod};
use planner::{Bytes, Estimate, Tokens};

use crate::Store;
use crate::testing::{machine, measurement, run, sweep, temporary};

/// Numbers that look random and are the same every time (xorshift, Marsaglia 2003).
struct Draw(u64);

impl Draw {
    /// One of some.
    fn of<T: Clone>(&mut self, some: &[T]) -> T {
        some[usize::try_from(self.below(some.len() as u64)).unwrap()].clone()
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn lora() -> Lora {
    Lora { rank: 8, targets: vec!["q_proj".to_owned()], train_embeddings: false }
}

fn case(run: &Run, position: u32, draw: &mut Draw) -> Case {
    let attentions = [
        None,
        Some(Attention::Flash),
        Some(Attention::SlidingWindow { window: Tokens(512) }),
        Some(Attention::Longformer { window: Tokens(64), global_tokens: Tokens(2) }),
        Some(Attention::BigBird { block: Tokens(8), window_blocks: 2, global_blocks: 1, random_blocks: 3 }),
    ];
    let spec = CaseSpec {
        model: draw.of(&["SmolLM2-135M", "Qwen3-0.6B", "smol tester"]).into(),
        precision: draw.of(&["bf16", "fp32"]).into(),
        attention: draw.of(&attentions),
        cache: draw.of(&[None, Some(CacheKind::Slab)]),
        device: draw.of(&[Device::Cpu, Device::Cuda(0), Device::Cuda(9)]),
        batch: draw.of(&[1, 2, 16]),
        prompt_tokens: Tokens(16),
        generate_tokens: Tokens(4),
        training: draw.of(&[None, None, Some(Training::of(TrainMethod::Lora, Some(lora())))]),
        // Each a case of its own.
        repetitions: position + 1,
        ..CaseSpec::default()
    };
    let status = draw.of(&[CaseStatus::Ok, CaseStatus::Ok, CaseStatus::OutOfMemory]);
    let mut measured = measurement(1000 + 10 * draw.below(50), 1.0 + draw.below(20) as f64);
    for (n, sample) in (1u32..).zip(&mut measured.samples) {
        sample.prefill_ms = f64::from(n) * (1.0 + draw.below(9) as f64);
        sample.ttft_ms = sample.prefill_ms + 1.0;
    }
    Case {
        id: CaseId::derive(run.id, &spec.key()),
        run_id: run.id,
        position,
        spec,
        engine: "candle 0.11.1 stock llama".into(),
        plan: None,
        estimate: None,
        status,
        error: None,
        measurement: (status == CaseStatus::Ok).then_some(measured),
        finished_at: UnixMillis(1_000_000 + draw.below(40).cast_signed()),
    }
}

async fn filled(cases: u32) -> (tempfile::TempDir, Store) {
    let (folder, store) = temporary().await;
    let (machine, sweep) = (machine(1, "desk"), sweep("tiny"));
    let run = run(2, &machine, sweep);
    store.upsert_machine(&machine).await.unwrap();
    store.create_run(&run).await.unwrap();
    let mut draw = Draw(0x9E37_79B9_7F4A_7C15);
    for position in 0..cases {
        assert!(store.insert_case(&case(&run, position, &mut draw)).await.unwrap());
    }
    (folder, store)
}

fn query(pairs: &[(&str, &str)]) -> CaseQuery {
    let (query, errors) = CaseQuery::read(pairs.iter().copied());
    assert_eq!(errors, []);
    query
}

fn passes(line: &CaseLine, query: &CaseQuery, but: Option<Facet>) -> bool {
    query.facets.iter().all(|(facet, values)| Some(*facet) == but || values.contains(&line.value(*facet)))
        && query.search.as_ref().is_none_or(|q| line.model.to_lowercase().contains(&q.to_lowercase()))
        && query.run.is_none_or(|run| line.run_id == run)
        && query.since.is_none_or(|t| line.finished_at >= t)
        && query.until.is_none_or(|t| line.finished_at < t)
}

fn figure(line: &CaseLine, order: Order) -> Option<f64> {
    let (peak, said) = (line.peak_allocated.map(|b| b.0 as f64), line.estimated.map(|b| b.0 as f64));
    match order {
        Order::Finished => Some(line.finished_at.0 as f64),
        Order::Decode => line.decode_tokens_per_second,
        Order::Prefill => line.prefill_tokens_per_second,
        Order::Ttft => line.ttft_ms,
        Order::Peak => peak,
        Order::Error => peak.zip(said).map(|(peak, said)| ((said - peak) / peak).abs()),
    }
}

#[tokio::test]
async fn lists_are_what_filtering_and_sorting_every_case_gives() {
    let (_folder, store) = filled(150).await;
    let everything = store.explore(&query(&[("limit", "1000")])).await.unwrap();
    assert_eq!((everything.items.len(), everything.total), (150, 150));
    for pairs in [
        &[][..],
        &[("model", "SmolLM2-135M")],
        &[("model", "SmolLM2-135M"), ("model", "Qwen3-0.6B"), ("batch", "16"), ("order", "decode")],
        &[("q", "SMOL"), ("order", "peak"), ("direction", "ascending")],
        &[("attention", "big-bird:8:2:1:3"), ("order", "prefill")],
        &[("since", "1000010"), ("until", "1000030"), ("status", "ok"), ("order", "ttft")],
        &[("cache", "default"), ("device", "cuda:9"), ("order", "error")],
        &[("model", "no such")],
        &[("task", "training"), ("method", "lora"), ("order", "peak")],
        &[("run", "00000000-0000-0000-0000-000000000002"), ("until", "1000020")],
        &[("run", "00000000-0000-0000-0000-000000000003")],
    ] {
        let query = CaseQuery { limit: 7, ..query(pairs) };
        let mut want: Vec<&CaseLine> = everything.items.iter().filter(|l| passes(l, &query, None)).collect();
        // The order of all is the latest first; a stable sort keeps it among equals, as the numbers do.
        if !query.descending {
            want.reverse();
        }
        want.sort_by(|a, b| match (figure(a, query.order), figure(b, query.order)) {
            (Some(x), Some(y)) if query.descending => y.total_cmp(&x),
            (Some(x), Some(y)) => x.total_cmp(&y),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        let figures = |lines: &[CaseLine]| lines.iter().map(|l| figure(l, query.order)).collect::<Vec<_>>();
        let want_figures: Vec<Option<f64>> = want.iter().map(|l| figure(l, query.order)).collect();

        // Forward to the end, then back to the start.
        let (mut forward, mut pages): (Vec<CaseLine>, Vec<CaseListing>) = (Vec::new(), Vec::new());
        let mut at = query.clone();
        loop {
            let page = store.explore(&at).await.unwrap();
            assert_eq!(page.total, want.len() as u64, "{pairs:?}");
            forward.extend(page.items.clone());
            at.after = page.next.as_ref().map(|p| p.parse().unwrap());
            pages.push(page);
            if at.after.is_none() {
                break;
            }
        }
        assert_eq!(figures(&forward), want_figures, "{pairs:?}");
        let distinct: std::collections::HashSet<CaseId> = forward.iter().map(|l| l.id).collect();
        assert_eq!(distinct.len(), want.len(), "{pairs:?}: each once");
        assert!(want.iter().all(|l| distinct.contains(&l.id)), "{pairs:?}");
        for pair in pages.windows(2) {
            let before = pair[1].previous.as_ref().unwrap().parse().unwrap();
            let back = store.explore(&CaseQuery { before: Some(before), ..query.clone() }).await.unwrap();
            assert_eq!(back.items, pair[0].items, "{pairs:?}");
            assert_eq!(back.next, pair[0].next);
            assert_eq!(back.previous, pair[0].previous);
        }

        for (facet, values) in &pages[0].facets {
            for counted in values {
                let want = everything
                    .items
                    .iter()
                    .filter(|l| l.value(*facet) == counted.value && passes(l, &query, Some(*facet)))
                    .count();
                assert_eq!(counted.cases, want as u64, "{pairs:?}: {} {}", facet.as_str(), counted.value);
            }
        }
    }
}

#[tokio::test]
async fn values_stand_in_an_order_that_people_expect() {
    let (_folder, store) = filled(60).await;
    let listing = store.explore(&CaseQuery::default()).await.unwrap();
    let values = |facet| listing.facets[&facet].iter().map(|v| v.value.as_str()).collect::<Vec<_>>();
    assert_eq!(values(Facet::Batch), ["1", "2", "16"], "numbers by their size");
    let counts: Vec<u64> = listing.facets[&Facet::Model].iter().map(|v| v.cases).collect();
    assert!(counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
    assert!(values(Facet::Attention).contains(&"longformer:64:2"));
    assert!(values(Facet::Cache).contains(&"default"));
}

#[tokio::test]
async fn another_programs_cases_are_seen() {
    let (folder, store) = filled(3).await;
    assert_eq!(store.explore(&CaseQuery::default()).await.unwrap().total, 3);
    let other = Store::open(&folder.path().join("plimsoll.db")).await.unwrap();
    let machine = machine(1, "desk");
    let run = run(5, &machine, sweep("tiny"));
    other.create_run(&run).await.unwrap();
    other.insert_case(&case(&run, 0, &mut Draw(7))).await.unwrap();
    assert_eq!(store.explore(&CaseQuery::default()).await.unwrap().total, 4);
}

/// The migration fills the lines of cases stored before it; they are those that writing the cases gives.
#[tokio::test]
async fn the_migration_gives_older_cases_the_same_lines() {
    const LINES: &str = "SELECT case_id, run_id, machine_id, model, task, training, precision, attention, variant, cache, kv_cache, engine, \
                         device, status, batch, prompt_tokens, generate_tokens, decode_tokens_per_second, \
                         round(prefill_tokens_per_second, 6), ttft_ms, peak_bytes, estimated_bytes, finished_at \
                         FROM case_lines ORDER BY case_id";
    async fn lines(store: &Store) -> Vec<String> {
        let json = format!("SELECT json_array({}", LINES.strip_prefix("SELECT ").unwrap());
        let json = json.replacen(" FROM", ") FROM", 1);
        sqlx::query_scalar(&json).fetch_all(&store.pool).await.unwrap()
    }
    async fn figures(store: &Store) -> Vec<String> {
        let json = "SELECT json_array(run_id, done, ok, best_decode, largest_peak) FROM run_figures";
        sqlx::query_scalar(json).fetch_all(&store.pool).await.unwrap()
    }
    let (_folder, store) = filled(60).await;
    let written = lines(&store).await;
    assert!(written.iter().any(|line| line.contains("\"train:lora8(q_proj):adamw\"")), "{written:?}");
    let migration = include_str!("../../../../migrations/0004_case_lines.sql");
    let fill = &migration[migration.find("INSERT INTO case_lines").unwrap()..];
    let summed = figures(&store).await;
    sqlx::query("DELETE FROM case_lines").execute(&store.pool).await.unwrap();
    sqlx::query("DELETE FROM run_figures").execute(&store.pool).await.unwrap();
    sqlx::query("DROP TRIGGER run_figures_of_new_lines").execute(&store.pool).await.unwrap();
    sqlx::query(fill).execute(&store.pool).await.unwrap();
    let migration = include_str!("../../../../migrations/0006_pages_of_many_cases.sql");
    for start in ["UPDATE case_lines", "INSERT INTO run_figures\nSELECT"] {
        let fill = &migration[migration.find(start).unwrap()..];
        sqlx::query(&fill[..=fill.find(';').unwrap()]).execute(&store.pool).await.unwrap();
    }
    assert_eq!(lines(&store).await, written);
    assert_eq!(figures(&store).await, summed);
}

#[tokio::test]
async fn a_search_is_listed_as_the_largest_that_fits() {
    let (_folder, store) = filled(3).await;
    let machine = machine(1, "desk");
    let run = run(6, &machine, sweep("tiny"));
    store.create_run(&run).await.unwrap();
    let mut searched = case(&run, 0, &mut Draw(7));
    searched.status = CaseStatus::Ok;
    searched.spec.edge = Some(EdgeSpec::exact(EdgeAxis::Batch));
    searched.id = CaseId::derive(run.id, &searched.spec.key());
    let edge = Edge {
        axis: EdgeAxis::Batch,
        largest: 37,
        smallest_failed: Some(38),
        predicted: Some(36),
        probes: Vec::new(),
    };
    searched.measurement = Some(Measurement { edge: Some(edge), ..measurement(5, 1.0) });
    store.insert_case(&searched).await.unwrap();
    let listing = store.explore(&query(&[("batch", "37")])).await.unwrap();
    assert_eq!(
        listing.items.iter().map(|line| (line.id, line.batch)).collect::<Vec<_>>(),
        [(searched.id, 37)]
    );
}

#[tokio::test]
async fn an_attempt_that_is_superseded_is_listed_no_more() {
    let (_folder, store) = filled(40).await;
    let failed = |line: &&CaseLine| line.status == CaseStatus::OutOfMemory;
    let all = store.explore(&CaseQuery::default()).await.unwrap();
    let before = all.items.iter().filter(failed).count() as u64;
    let line = all.items.iter().find(failed).unwrap();
    let mut again = store.case(line.id).await.unwrap().unwrap();
    (again.status, again.finished_at) = (CaseStatus::Ok, UnixMillis(9_000_000));
    again.measurement = Some(measurement(5, 1.0));
    assert!(store.supersede_case(&again, UnixMillis(9_000_001)).await.unwrap());
    let now = store.explore(&CaseQuery::default()).await.unwrap();
    assert_eq!((now.total, now.items.len()), (40, 40));
    assert_eq!((now.items[0].id, now.items[0].status), (again.id, CaseStatus::Ok), "the newest");
    for query in [query(&[]), query(&[("batch", "1"), ("batch", "2"), ("batch", "16")])] {
        let listing = store.explore(&query).await.unwrap();
        let out = listing.facets[&Facet::Status].iter().find(|v| v.value == "out-of-memory");
        assert_eq!(out.map_or(0, |v| v.cases), before - 1);
    }
}

/// The newest line goes with its case; the one in its place must not look as if it had been read.
#[tokio::test]
async fn the_newest_attempt_may_be_superseded() {
    let (_folder, store) = filled(12).await;
    let run = run(6, &machine(1, "desk"), sweep("tiny"));
    store.create_run(&run).await.unwrap();
    let mut failed = case(&run, 40, &mut Draw(3));
    (failed.status, failed.measurement) = (CaseStatus::OutOfMemory, None);
    assert!(store.insert_case(&failed).await.unwrap());
    let status = async |store: &Store| {
        let all = store.explore(&CaseQuery { run: Some(run.id), ..CaseQuery::default() }).await.unwrap();
        assert_eq!(all.items.len(), 1);
        (all.items[0].status, store.newest_result().await.unwrap())
    };
    let (before, first) = status(&store).await;
    assert_eq!(before, CaseStatus::OutOfMemory);
    let again = Case {
        status: CaseStatus::Ok,
        measurement: Some(measurement(5, 1.0)),
        finished_at: UnixMillis(9_000_000),
        ..failed
    };
    assert!(store.supersede_case(&again, UnixMillis(9_000_001)).await.unwrap());
    let (after, second) = status(&store).await;
    assert_eq!(after, CaseStatus::Ok);
    assert!(second > first, "{second} is no later than {first}");
}

#[tokio::test]
async fn points_are_the_lines_with_what_the_documents_hold() {
    let (_folder, store) = filled(30).await;
    let run = run(6, &machine(1, "desk"), sweep("tiny"));
    store.create_run(&run).await.unwrap();
    let mut searched = case(&run, 40, &mut Draw(3));
    let edge = Edge {
        axis: EdgeAxis::Batch,
        largest: 12,
        smallest_failed: Some(13),
        predicted: Some(11),
        probes: Vec::new(),
    };
    searched.spec.edge = Some(EdgeSpec::exact(EdgeAxis::Batch));
    searched.id = CaseId::derive(run.id, &searched.spec.key());
    searched.status = CaseStatus::Ok;
    searched.measurement = Some(Measurement { edge: Some(edge.clone()), ..measurement(5, 1.0) });
    let mut estimate =
        Estimate::empty(EngineVersion { name: EngineName::Candle, version: "0.11.1".into(), variant: None });
    estimate.per_gpu.weights = Bytes(700);
    estimate.kv.pool_bytes = Bytes(50);
    (estimate.error_band.low, estimate.error_band.high) = (Bytes(680), Bytes(720));
    searched.estimate = Some(estimate.clone());
    searched.finished_at = UnixMillis(9_000_000);
    assert!(store.insert_case(&searched).await.unwrap());

    for query in [query(&[]), query(&[("batch", "16")]), query(&[("model", "no such")])] {
        let listing = store.explore(&CaseQuery { limit: 1000, ..query.clone() }).await.unwrap();
        // A place and a limit are those of a list, not of a plot.
        let points = store.points(&CaseQuery { limit: 3, ..query }, true).await.unwrap();
        let lines: Vec<CaseLine> = points.items.iter().map(|point| point.line.clone()).collect();
        assert_eq!((lines, points.total, points.facets), (listing.items, listing.total, listing.facets));
    }
    let points = store.points(&CaseQuery::default(), true).await.unwrap();
    let newest = &points.items[0];
    let want = CaseDetail {
        parts: Some(estimate.per_gpu),
        pool: Bytes(50),
        band: Some((Bytes(680), Bytes(720))),
        edge: Some(edge),
        ..CaseDetail::default()
    };
    assert_eq!((newest.batch(), &newest.detail), (12, &want));
    assert!(
        points.items[1..].iter().all(|point| point.detail == CaseDetail::default()),
        "no estimate, no search"
    );
}

#[tokio::test]
async fn a_run_has_pages_and_sums() {
    let (_folder, store) = filled(120).await;
    let run = run(2, &machine(1, "desk"), sweep("tiny")).id;
    let mut seen: Vec<u32> = Vec::new();
    let mut from = 0;
    let whole = store.run(run).await.unwrap().unwrap();
    loop {
        let page = store.run_page(run, from).await.unwrap().unwrap();
        assert_eq!(page.previous, (from > 0).then(|| from - CASES_OF_PAGE));
        seen.extend(page.cases.iter().map(|case| case.position));
        let ok = whole.cases.iter().filter(|case| case.status == CaseStatus::Ok);
        let peaks = ok.clone().filter_map(|case| case.measurement.as_ref()?.peak_allocated());
        assert_eq!((page.figures.done, page.figures.ok), (120, ok.clone().count() as u64));
        assert_eq!(page.figures.largest_peak, peaks.max());
        assert_eq!((page.lines.len(), page.run.id), (120, run));
        let listed = &store.runs(&RunFilter::default()).await.unwrap().items[0];
        let of_list = (listed.cases_done.into(), listed.cases_ok.into(), listed.largest_peak);
        assert_eq!(of_list, (page.figures.done, page.figures.ok, page.figures.largest_peak));
        assert_eq!(listed.best_decode_tokens_per_second, page.figures.best_decode_tokens_per_second);
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen, (0..120).collect::<Vec<u32>>());
    assert_eq!(store.run_page(contract::ids::RunId(crate::testing::uuid(77)), 0).await.unwrap(), None);
}

#[tokio::test]
async fn pages_of_whole_cases_are_those_of_their_lines() {
    let (_folder, store) = filled(130).await;
    let filter = |page| CaseFilter {
        model: Some("smol".to_owned()),
        status: Some(CaseStatus::Ok),
        page: Some(page),
        per_page: Some(20),
        ..CaseFilter::default()
    };
    let query = query(&[("q", "smol"), ("status", "ok"), ("limit", "1000")]);
    let lines = store.explore(&query).await.unwrap();
    let mut ids: Vec<CaseId> = Vec::new();
    for page in 1..=7 {
        let page = store.cases(&filter(page)).await.unwrap();
        assert_eq!(page.total, lines.total);
        ids.extend(page.items.iter().map(|case| case.id));
    }
    assert_eq!(ids, lines.items.iter().map(|line| line.id).collect::<Vec<_>>());
}
