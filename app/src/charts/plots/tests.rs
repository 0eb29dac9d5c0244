use contract::case::{Case, CaseSpec, CaseStatus, Device};
use contract::edge::{Edge, EdgeAxis};
use contract::explore::{CaseLine, Task};
use contract::ids::{CaseId, MachineId, RunId, UnixMillis};
use contract::measurement::Quality;
use contract::points::CaseDetail;
use planner::document::estimate::Components;
use planner::{Bytes, Tokens};
use uuid::Uuid;

use super::*;
use crate::charts::Theme;

const MODEL: &str = "meta-llama/Llama-3.1-8B";

fn line(number: u128, precision: &str, attention: &str, batch: u32, prompt: u64) -> CaseLine {
    let standard = || "default".to_owned();
    CaseLine {
        id: CaseId(Uuid::from_u128(number)),
        run_id: RunId(Uuid::from_u128(7)),
        machine_id: MachineId(Uuid::from_u128(9)),
        model: MODEL.to_owned(),
        task: Task::Inference,
        training: None,
        precision: precision.to_owned(),
        variant: standard(),
        attention: attention.to_owned(),
        cache: standard(),
        kv_cache: standard(),
        engine: "candle 0.11.1 plimsoll".to_owned(),
        device: "NVIDIA L4".to_owned(),
        status: CaseStatus::Ok,
        batch,
        prompt_tokens: Tokens(prompt),
        generate_tokens: Tokens(64),
        decode_tokens_per_second: None,
        prefill_tokens_per_second: None,
        ttft_ms: None,
        peak_allocated: None,
        estimated: None,
        finished_at: UnixMillis(1_795_000_000_000 - i64::try_from(number).unwrap() * 60_000),
    }
}

/// Figures as a machine would give them, the same every time.
fn measured(mut line: CaseLine, weights_gib: f64) -> CasePoint {
    let batch = f64::from(line.batch);
    let context = (line.prompt_tokens.0 + line.generate_tokens.0) as f64;
    let kv = batch * context * 131_072.0;
    let gib = f64::from(1 << 30);
    let estimated = weights_gib * gib + kv + 0.4 * gib;
    let off = 1.0 + (batch - 3.0) / 100.0;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes = |n: f64| Bytes(n as u64);
    let slow = if line.attention == "eager" { 1.3 } else { 1.0 };
    line.decode_tokens_per_second = Some(batch * 300.0 / (weights_gib + 0.2 * batch) / slow);
    line.prefill_tokens_per_second = Some(4000.0 / slow);
    line.ttft_ms = Some(batch * context / 4.0 * slow);
    line.peak_allocated = Some(bytes(estimated * off));
    line.estimated = Some(bytes(estimated));
    let parts = Components {
        weights: bytes(weights_gib * gib),
        kv_cache: bytes(kv),
        activations: bytes(0.4 * gib),
        context: bytes(0.3 * gib),
        total: bytes(estimated + 0.3 * gib),
        ..Components::default()
    };
    let total = parts.total.0 as f64;
    let quality = (line.precision == "q4_0").then(|| Quality {
        perplexity: 12.5,
        perplexity_error: 0.1,
        reference_perplexity: 12.0,
        reference: "bf16".to_owned(),
        top1_agreement: 0.92,
        kl_mean: 0.045,
        kl_p99: 0.4,
        tokens: 512,
        window: 128,
        text: "text".to_owned(),
        method: "window".to_owned(),
    });
    let band = Some((bytes(total * 0.97), bytes(total * 1.03)));
    CasePoint { line, detail: CaseDetail { parts: Some(parts), band, quality, ..CaseDetail::default() } }
}

/// Cases of two precisions, two attentions and batches, one that failed, one that trained; three thousand match.
fn points() -> CasePoints {
    let mut items = Vec::new();
    for (precision, gib) in [("bf16", 15.0), ("q4_0", 4.3)] {
        for attention in ["eager", "flash"] {
            for batch in [1, 2, 4, 8] {
                items.push(measured(line(items.len() as u128, precision, attention, batch, 448), gib));
            }
        }
    }
    let mut failed = line(100, "bf16", "flash", 64, 4096);
    failed.status = CaseStatus::OutOfMemory;
    let mut trained = measured(line(101, "bf16", "flash", 1, 448), 15.0);
    trained.line.task = Task::Training;
    items.push(CasePoint { line: failed, detail: CaseDetail::default() });
    items.push(trained);
    CasePoints { items, total: 3000, facets: BTreeMap::new() }
}

fn asked(kind: Kind, pairs: &[(&str, &str)]) -> PlotQuery {
    let (asked, errors) = PlotQuery::read(kind, pairs.iter().copied());
    assert_eq!(errors, []);
    asked
}

fn planned() -> Case {
    let query = format!("model={MODEL}&gpu=l4-24gb&weights=bf16&context=448&output=64&batch=1");
    let plan = planner::link::from_query(&query).unwrap();
    Case {
        id: CaseId(Uuid::from_u128(0)),
        run_id: RunId(Uuid::from_u128(7)),
        position: 0,
        spec: CaseSpec { model: MODEL.to_owned(), device: Device::Cuda(0), ..CaseSpec::default() },
        engine: "candle".to_owned(),
        plan: Some(plan),
        estimate: None,
        status: CaseStatus::Ok,
        error: None,
        measurement: None,
        finished_at: UnixMillis(0),
    }
}

fn drawn(kind: Kind, pairs: &[(&str, &str)]) -> Plot {
    draw(&asked(kind, pairs), &points(), &BTreeMap::new(), Some(&planned()))
}

#[test]
fn every_plot_is_drawn() {
    for kind in Kind::ALL {
        let plot = drawn(kind, &[]);
        let svg = plot.chart.as_ref().unwrap().svg().unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        insta::assert_snapshot!(format!("plot_{}", kind.as_str()), svg);
        assert_eq!(plot.chart.unwrap().svg().unwrap(), svg, "the same each time");
    }
}

#[test]
fn a_picture_stands_alone() {
    let chart = drawn(Kind::Memory, &[]).chart.unwrap();
    let svg = chart.picture("n = 1 of 2 & more.", Theme::Dark, 900).unwrap();
    for left in ["var(", "href", "<a "] {
        assert!(!svg.contains(left), "{left} is left in {svg}");
    }
    for part in ["width=\"900\"", "fill=\"#161e27\"", "n = 1 of 2 &amp; more.", ">bf16</text>"] {
        assert!(svg.contains(part), "no {part} in {svg}");
    }
    assert_ne!(svg, chart.picture("n = 1 of 2 & more.", Theme::Light, 900).unwrap());
}

#[test]
fn what_is_left_out_is_counted_with_its_reason() {
    let beyond = (2982u64, "older than the newest 18, which are as many as a plot takes");
    for (kind, n, more) in [
        (Kind::Speed, 16, vec![(1, "ended without a measurement"), (1, "are training steps")]),
        (Kind::Memory, 17, vec![(1, "ended without a measurement")]),
        (
            Kind::Parts,
            16,
            vec![(1, "ended without a measured peak"), (1, "are older measurements of a case that is shown")],
        ),
        (Kind::Residual, 17, vec![(1, "ended without a measured peak")]),
        (
            Kind::Load,
            5,
            vec![
                (12, "are of another model, precision or device than most; filter to see them"),
                (1, "are training steps"),
            ],
        ),
    ] {
        let plot = drawn(kind, &[]);
        let mut left: Vec<(u64, &str)> = plot.left_out.iter().map(|(why, n)| (*n, why.as_str())).collect();
        let mut want: Vec<(u64, &str)> = std::iter::once(beyond).chain(more).collect();
        left.sort_unstable();
        want.sort_unstable();
        assert_eq!((plot.n, left), (n, want), "{kind:?}");
        assert_eq!(plot.n as u64 + plot.left_out.iter().map(|(_, n)| n).sum::<u64>(), 3000, "{kind:?}");
    }
    let nothing = draw(&asked(Kind::Speed, &[]), &CasePoints::default(), &BTreeMap::new(), None);
    assert_eq!((&nothing.chart, nothing.counted().as_str()), (&None, "n = 0 of 0 cases."));
}

#[test]
fn lines_join_medians_and_series_lead_to_their_cases() {
    let plot = drawn(Kind::Speed, &[("y", "tpot"), ("series", "attention"), ("batch", "4"), ("batch", "8")]);
    let chart = plot.chart.unwrap();
    let lines: Vec<_> = chart.series.iter().filter(|s| s.mark == crate::charts::Mark::None).collect();
    assert_eq!(lines.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["eager", "flash"]);
    // Two precisions at each of the four batches.
    assert_eq!(lines[0].points.iter().map(|p| p.x).collect::<Vec<_>>(), [1.0, 2.0, 4.0, 8.0]);
    let at_one = [15.2, 4.5].map(|gib| 1000.0 * gib / 300.0 * 1.3);
    assert!((lines[0].points[0].y - f64::midpoint(at_one[0], at_one[1])).abs() < 1e-9);
    assert_eq!(plot.links["flash"], "/cases?attention=flash&batch=4&batch=8");
}

#[test]
fn a_batch_that_was_searched_is_where_the_search_ended() {
    let mut points = points();
    points.items.truncate(1);
    points.items[0].detail.edge = Some(Edge {
        axis: EdgeAxis::Batch,
        largest: 24,
        smallest_failed: Some(25),
        predicted: None,
        probes: Vec::new(),
    });
    let plot = draw(&asked(Kind::Load, &[]), &points, &BTreeMap::new(), Some(&planned()));
    let places = |name: &str| -> Vec<(f64, f64)> {
        let series = plot.chart.as_ref().unwrap().series.iter().find(|s| s.name == name).unwrap();
        series.points.iter().map(|p| (p.x, p.y)).collect()
    };
    assert_eq!(places("ran"), [(24.0, 512.0)]);
    assert_eq!(places("had no memory for it"), [(25.0, 512.0)]);
}

#[test]
fn the_load_line_is_the_solvers_within_its_band() {
    let plot = drawn(Kind::Load, &[]);
    let chart = plot.chart.unwrap();
    let line = &chart.series.iter().find(|s| s.name == "the planner's load line").unwrap().points;
    let plan = planned().plan.unwrap();
    let batches: Vec<u64> = crate::components::batches(64);
    let want = planner::solve::load_line(&plan, &batches).unwrap();
    let want: Vec<(f64, f64)> =
        want.iter().filter(|p| p.context.0 > 0).map(|p| (p.batch as f64, p.context.0 as f64)).collect();
    assert_eq!(line.iter().map(|p| (p.x, p.y)).collect::<Vec<_>>(), want);
    let band = &chart.areas[0].points;
    assert!(!band.is_empty());
    for (x, low, high) in band {
        let (_, y) = want.iter().find(|p| (p.0 - x).abs() < 0.5).unwrap();
        assert!(low <= y && y <= high, "{low} to {high} at {x} does not hold {y}");
    }
    let none = draw(&asked(Kind::Load, &[]), &points(), &BTreeMap::new(), None);
    assert!(none.notes.iter().any(|note| note.contains("There is no line")), "{:?}", none.notes);
}

#[test]
fn a_part_shows_what_lies_in_it_and_counts_the_rest() {
    let range = [("x", "batch"), ("x_from", "2"), ("x_to", "4")];
    let (whole, part) = (drawn(Kind::Speed, &[]), drawn(Kind::Speed, &range));
    assert_eq!((part.n, part.zoomed), (16, Some(Zoomed { outside: 8, marks: 16 })));
    assert!(part.counted().ends_with(" 8 of 16 points are outside this range."), "{}", part.counted());
    assert_eq!((whole.zoomed, whole.table.rows.len(), part.table.rows.len()), (None, 16, 8));
    assert!(
        part.table.rows.iter().all(|(_, cells)| ["2", "4"].contains(&cells[2].as_str())),
        "{:?}",
        part.table
    );
    insta::assert_snapshot!("plot_speed_zoomed", part.chart.unwrap().svg().unwrap());

    let beyond = drawn(Kind::Speed, &[("y_from", "1e9")]);
    assert_eq!((&beyond.chart, beyond.zoomed), (&None, Some(Zoomed { outside: 16, marks: 16 })));
    let no_range = drawn(Kind::Heat, &[("x_from", "9"), ("x_to", "10")]);
    assert_eq!(no_range.chart, drawn(Kind::Heat, &[]).chart, "its axes are names");
}

#[test]
fn what_a_plot_settles_keeps_its_axes() {
    for (kind, settled) in [
        (Kind::Speed, "x=batch"),
        (Kind::Memory, "x=batch&unit=GiB"),
        (Kind::Residual, "unit=GiB"),
        (Kind::Pareto, ""),
        (Kind::Load, ""),
    ] {
        let plot = drawn(kind, &[]);
        assert_eq!(
            address::with("", &plot.settled.choices(), &[]).trim_start_matches('?'),
            settled,
            "{kind:?}"
        );
        let again = draw(&plot.settled, &points(), &BTreeMap::new(), Some(&planned()));
        assert_eq!(again.chart, plot.chart, "{kind:?}");
    }
    let mib = drawn(Kind::Memory, &[("unit", "MiB")]).chart.unwrap();
    assert_eq!(mib.y.label, "peak, MiB");
}
