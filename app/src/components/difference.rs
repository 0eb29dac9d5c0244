//! Two plans side by side: their bars on one scale, what they differ in, and by how much.

use leptos::prelude::*;
use planner::{Bytes, Estimate, Plan};
use serde_json::Value;

use super::answer::{Verdict, components, figure_of, hull, reach, sized, unit_of};
use super::facts;
use crate::fields::document;
use crate::{fields, format, link};

/// Two plans A and B with their answers.
#[component]
pub fn Difference(
    /// One plan.
    a: (Plan, Estimate),
    /// The other.
    b: (Plan, Estimate),
) -> impl IntoView {
    let ((plan_a, of_a), (plan_b, of_b)) = (&a, &b);
    let longest = reach(of_a).max(reach(of_b));
    view! {
        <section class="card difference" data-test="difference">
            {side("A", plan_a, of_a, longest)} {side("B", plan_b, of_b, longest)} {settings(plan_a, plan_b)}
            {figures(&a, &b)}
        </section>
    }
    .into_any()
}

/// One plan's verdict and bar.
fn side(letter: &'static str, plan: &Plan, estimate: &Estimate, reach: f64) -> AnyView {
    let (class, words) = Verdict::of(estimate).words();
    let total = estimate.per_gpu.total;
    let name = format!("{} on {}", link::model_name(&plan.model), link::gpu_name(&plan.gpu.id));
    view! {
        <p class="one">
            <b class="letter">{letter}</b>
            " "
            <span>{name}</span>
            " "
            <b class=class>{words}</b>
            " "
            <b class="num">{sized(total, total)}</b>
        </p>
        {hull(estimate, reach, None)}
    }
    .into_any()
}

/// The settings that differ.
fn settings(a: &Plan, b: &Plan) -> AnyView {
    let rows: Vec<_> = differing(a, b)
        .into_iter()
        .map(|(name, of_a, of_b)| {
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    <td>{of_a}</td>
                    <td>{of_b}</td>
                </tr>
            }
        })
        .collect();
    if rows.is_empty() {
        return view! { <p class="muted">"Both are the same plan."</p> }.into_any();
    }
    table("Settings that differ", "", ["A", "B"], rows.into_iter().collect_view().into_any())
}

/// A table by plan: of text, or (class `n`) of numbers.
fn table<const N: usize>(
    label: &'static str,
    class: &'static str,
    heads: [&'static str; N],
    rows: AnyView,
) -> AnyView {
    let heads =
        heads.into_iter().map(|head| view! { <th scope="col" class=class>{head}</th> }).collect_view();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label=label>
            <table>
                <thead>
                    <tr>
                        <th scope="col">{label}</th>
                        {heads}
                    </tr>
                </thead>
                <tbody class="num">{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

/// Components and figures beside each other, with what A has more than B.
fn figures((plan_a, a): &(Plan, Estimate), (plan_b, b): &(Plan, Estimate)) -> AnyView {
    let whole = a.per_gpu.total.max(b.per_gpu.total);
    let (parts_a, parts_b) = (components(a), components(b));
    let size = |parts: &[(&'static str, &'static str, Bytes)], name: &str| {
        parts.iter().find(|part| part.0 == name).map_or(Bytes::ZERO, |part| part.2)
    };
    let mut sizes: Vec<(&'static str, Bytes, Bytes)> =
        parts_a.iter().map(|(name, _, bytes)| (*name, *bytes, size(&parts_b, name))).collect();
    for (name, _, bytes) in &parts_b {
        if !parts_a.iter().any(|part| part.0 == *name) {
            sizes.push((*name, Bytes::ZERO, *bytes));
        }
    }
    sizes.push(("Total", a.per_gpu.total, b.per_gpu.total));
    sizes.push(("Usable", a.capacity_bytes, b.capacity_bytes));
    let unit = unit_of(whole);
    let mut rows: Vec<(String, [String; 3])> = sizes
        .into_iter()
        .map(|(name, a, b)| {
            (format!("{name}, {unit}"), [figure_of(a, whole), figure_of(b, whole), less(a, b, whole)])
        })
        .collect();
    let speed_b = facts::speed(plan_b, b);
    for (name, value, unit) in facts::speed(plan_a, a) {
        let other = speed_b.iter().find(|(other, ..)| *other == name);
        let other = other.map_or_else(|| "–".to_owned(), |(_, value, unit)| format!("{value} {unit}"));
        rows.push((name.to_owned(), [format!("{value} {unit}"), other, String::new()]));
    }
    let rows = rows
        .into_iter()
        .map(|(name, cells)| {
            let cells = cells.into_iter().map(|cell| view! { <td class="n">{cell}</td> }).collect_view();
            view! {
                <tr>
                    <th scope="row">{name}</th>
                    {cells}
                </tr>
            }
        })
        .collect_view();
    table("Memory of one GPU, and speed", "n", ["A", "B", "A − B"], rows.into_any())
}

/// What one size has more than another, with its sign.
fn less(a: Bytes, b: Bytes, whole: Bytes) -> String {
    let sign = match a.cmp(&b) {
        std::cmp::Ordering::Less => "−",
        std::cmp::Ordering::Equal => "",
        std::cmp::Ordering::Greater => "+",
    };
    format!("{sign}{}", figure_of(Bytes(a.0.abs_diff(b.0)), whole))
}

/// Every setting that two plans differ in: its name on the page, or its path where it has none, and both texts.
fn differing(a: &Plan, b: &Plan) -> Vec<(String, String, String)> {
    let mut rows = Vec::new();
    if a.model != b.model {
        let (mut name_a, mut name_b) = (link::model_name(&a.model), link::model_name(&b.model));
        if name_a == name_b {
            // Two files of one name.
            name_a.push_str(", one file");
            name_b.push_str(", another file");
        }
        rows.push(("Model".to_owned(), name_a, name_b));
    }
    walk("", Some(&document::of(a)), Some(&document::of(b)), &mut rows);
    rows
}

fn walk(path: &str, a: Option<&Value>, b: Option<&Value>, rows: &mut Vec<(String, String, String)>) {
    let nothing = |value: Option<&Value>| value.is_none_or(Value::is_null);
    if a == b || (nothing(a) && nothing(b)) || path == "model" {
        return;
    }
    let (fields_a, fields_b) = (a.and_then(Value::as_object), b.and_then(Value::as_object));
    if fields_a.is_none() && fields_b.is_none() {
        let label = fields::find(path).map_or(path, |field| field.label);
        rows.push((label.to_owned(), told(path, a), told(path, b)));
        return;
    }
    let keys_a = fields_a.into_iter().flat_map(|fields| fields.keys());
    let only_b = fields_b
        .into_iter()
        .flat_map(|fields| fields.keys())
        .filter(|key| fields_a.is_none_or(|fields| !fields.contains_key(*key)));
    for key in keys_a.chain(only_b) {
        let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk(&inner, fields_a.and_then(|f| f.get(key)), fields_b.and_then(|f| f.get(key)), rows);
    }
}

/// A value in a few words.
fn told(path: &str, value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".to_owned(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        Some(Value::String(text)) if path == "gpu.id" => link::gpu_name(text),
        Some(Value::String(text)) if path == "engine.name" => fields::engine_name(text).to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(n)) => n.as_u64().map_or_else(|| n.to_string(), format::count),
        Some(Value::Array(list)) => {
            list.iter().map(|one| told(path, Some(one))).collect::<Vec<_>>().join(", ")
        }
        Some(Value::Object(_)) => "set".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(query: &str) -> (Plan, Estimate) {
        let plan = link::read(query).unwrap();
        let estimate = planner::estimate(&plan).unwrap();
        (plan, estimate)
    }

    #[test]
    fn every_setting_that_differs_is_named() {
        let row = |name: &str, a: &str, b: &str| (name.to_owned(), a.to_owned(), b.to_owned());
        let of = |a: &str, b: &str| differing(&answered(a).0, &answered(b).0);
        assert_eq!(of("", ""), []);
        assert_eq!(of("batch=1", "batch=8"), [row("Sequences at once", "1", "8")]);
        assert!(of("gpu=l4-24gb", "").contains(&row("GPU", "NVIDIA L4 24 GB", "NVIDIA H100 SXM 80 GB")));
        let models = of("model=Qwen/Qwen3-0.6B", "");
        assert!(models.contains(&row("Model", "Qwen/Qwen3-0.6B", "meta-llama/Llama-3.1-8B")), "{models:?}");
        let trained = of("engine=torchtune&workload.kind=train", "engine=vllm");
        assert!(trained.iter().any(|(_, a, b)| a == "train" && b == "serve"), "{trained:?}");
    }

    #[test]
    fn differences_have_their_sign() {
        let gib = |n: u64| Bytes(n << 30);
        for (a, b, said) in [(3, 1, "+2.00"), (1, 3, "−2.00"), (2, 2, "0.00")] {
            assert_eq!(less(gib(a), gib(b), gib(10)), said);
        }
    }

    #[cfg(feature = "ssr")]
    #[test]
    fn both_bars_have_one_scale() {
        let html = view! { <Difference a=answered("batch=1") b=answered("batch=64") /> }.to_html();
        let marks: Vec<&str> =
            html.split("class=\"mark\" style=\"left:").skip(1).map(|rest| &rest[..6]).collect();
        assert_eq!(marks.len(), 2, "{html}");
        assert_eq!(marks[0], marks[1], "the load line of one GPU stands at one place");
        assert!(html.contains("Sequences at once") && html.contains("A − B"), "{html}");
    }
}
