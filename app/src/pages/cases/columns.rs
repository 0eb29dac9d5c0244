//! Columns of the list of cases: which there are, which are chosen, what stands in them.

use std::collections::BTreeMap;

use contract::case::CaseStatus;
use contract::explore::{CaseLine, Order};
use contract::ids::UnixMillis;
use leptos::prelude::*;
use planner::Bytes;

use crate::components::{State, Tone, When};
use crate::format;

/// A column beside the model, which always stands first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    How,
    Training,
    Precision,
    Variant,
    Attention,
    Cache,
    KvCache,
    Engine,
    Batch,
    Tokens,
    Decode,
    Prefill,
    Ttft,
    Peak,
    Estimated,
    Planned,
    Status,
    Where,
    Machine,
    Device,
    When,
}

impl Column {
    /// All of them, in the order that they stand in.
    pub(super) const ALL: [Self; 21] = [
        Self::How,
        Self::Training,
        Self::Precision,
        Self::Variant,
        Self::Attention,
        Self::Cache,
        Self::KvCache,
        Self::Engine,
        Self::Batch,
        Self::Tokens,
        Self::Decode,
        Self::Prefill,
        Self::Ttft,
        Self::Peak,
        Self::Estimated,
        Self::Planned,
        Self::Status,
        Self::Where,
        Self::Machine,
        Self::Device,
        Self::When,
    ];

    /// Those that stand where none are chosen.
    const STANDARD: [Self; 10] = [
        Self::How,
        Self::Batch,
        Self::Tokens,
        Self::Decode,
        Self::Prefill,
        Self::Ttft,
        Self::Peak,
        Self::Planned,
        Self::Where,
        Self::When,
    ];

    /// As the address spells it, and what people call it.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::How => ("how", "How"),
            Self::Training => ("training", "Training"),
            Self::Precision => ("precision", "Precision"),
            Self::Variant => ("variant", "Decoder"),
            Self::Attention => ("attention", "Attention"),
            Self::Cache => ("cache", "Cache"),
            Self::KvCache => ("kv_cache", "Cache precision"),
            Self::Engine => ("engine", "Engine"),
            Self::Batch => ("batch", "Batch"),
            Self::Tokens => ("tokens", "Prompt + new"),
            Self::Decode => ("decode", "Decode, tok/s"),
            Self::Prefill => ("prefill", "Prefill, tok/s"),
            Self::Ttft => ("ttft", "First token"),
            Self::Peak => ("peak", "Peak, GiB"),
            Self::Estimated => ("estimated", "Planned, GiB"),
            Self::Planned => ("error", "Planned, off by"),
            Self::Status => ("status", "Status"),
            Self::Where => ("where", "Where"),
            Self::Machine => ("machine", "Machine"),
            Self::Device => ("device", "Device"),
            Self::When => ("when", "When"),
        }
    }

    /// As the address spells it.
    pub(super) const fn as_str(self) -> &'static str {
        self.names().0
    }

    pub(super) const fn title(self) -> &'static str {
        self.names().1
    }

    /// The order that its head asks for.
    pub(super) const fn order(self) -> Option<Order> {
        match self {
            Self::Decode => Some(Order::Decode),
            Self::Prefill => Some(Order::Prefill),
            Self::Ttft => Some(Order::Ttft),
            Self::Peak => Some(Order::Peak),
            Self::Planned => Some(Order::Error),
            Self::When => Some(Order::Finished),
            _ => None,
        }
    }

    pub(super) const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Batch
                | Self::Tokens
                | Self::Decode
                | Self::Prefill
                | Self::Ttft
                | Self::Peak
                | Self::Estimated
                | Self::Planned
        )
    }

    /// What stands in it.
    pub(super) fn cell(
        self,
        case: &CaseLine,
        machines: &BTreeMap<String, String>,
        now: UnixMillis,
    ) -> AnyView {
        let text = |text: &str| view! { <td>{text.to_owned()}</td> }.into_any();
        let number = |text: String| view! { <td class="n">{text}</td> }.into_any();
        let rate = |rate: Option<f64>| number(rate.map_or_else(none, format::figure));
        let size = |bytes: Option<Bytes>| number(bytes.map_or_else(none, format::gib_figure));
        let machine = machines.get(&case.machine_id.to_string()).map_or("", String::as_str);
        match self {
            Self::How => view! {
                <td>
                    {case.precision.clone()} <small>{how(case)}</small>
                </td>
            }
            .into_any(),
            Self::Training => text(&trained(case).unwrap_or_else(none)),
            Self::Precision => text(&case.precision),
            Self::Variant => text(&case.variant),
            Self::Attention => text(&case.attention),
            Self::Cache => text(&case.cache),
            Self::KvCache => text(&case.kv_cache),
            Self::Engine => text(&case.engine),
            Self::Batch => number(format::count(case.batch.into())),
            Self::Tokens => number(format!("{} + {}", case.prompt_tokens, case.generate_tokens)),
            Self::Decode => rate(case.decode_tokens_per_second),
            Self::Prefill => rate(case.prefill_tokens_per_second),
            Self::Ttft => number(case.ttft_ms.map_or_else(none, format::millis)),
            Self::Peak => size(case.peak_allocated),
            Self::Estimated => size(case.estimated),
            Self::Planned => {
                let (planned, off) = planned(case);
                view! { <td class="n">{off} <small>{planned}</small></td> }.into_any()
            }
            Self::Status => view! {
                <td>
                    <State word=case.status.as_str() tone=Tone::from(case.status) />
                </td>
            }
            .into_any(),
            Self::Where => view! {
                <td class="where">
                    {machine.to_owned()} <small>{case.device.clone()}</small>
                </td>
            }
            .into_any(),
            Self::Machine => text(machine),
            Self::Device => text(&case.device),
            Self::When => view! {
                <td class="nowrap">
                    <When at=case.finished_at now />
                    <small>
                        <a href=format!("/runs/{}", case.run_id)>"its run"</a>
                    </small>
                </td>
            }
            .into_any(),
        }
    }
}

fn none() -> String {
    "–".to_owned()
}

/// What is trained and how, where anything is: `lora8 · adamw`.
fn trained(case: &CaseLine) -> Option<String> {
    let name = case.training.as_deref()?;
    Some(name.strip_prefix("train:").unwrap_or(name).replace(':', " · "))
}

/// What is trained and was chosen of the engine, or the engine where nothing was.
fn how(case: &CaseLine) -> String {
    let words = [&case.variant, &case.attention, &case.cache, &case.kv_cache].into_iter().cloned();
    let chosen = words.filter(|word| *word != "default");
    let chosen: Vec<String> = trained(case).into_iter().chain(chosen).collect();
    if chosen.is_empty() { case.engine.clone() } else { chosen.join(" · ") }
}

/// What the planner said, and how far that is from what was measured.
fn planned(case: &CaseLine) -> (String, String) {
    match (case.peak_allocated, case.estimated) {
        (Some(peak), Some(said)) if peak.0 > 0 => {
            let off = 100.0 * (said.0 as f64 - peak.0 as f64) / peak.0 as f64;
            (format::gib_figure(said), format::signed_percent(off))
        }
        (_, Some(said)) => (format::gib_figure(said), none()),
        _ => (none(), none()),
    }
}

/// The columns that are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns(Vec<Column>);

impl Default for Columns {
    fn default() -> Self {
        Self(Column::STANDARD.to_vec())
    }
}

impl Columns {
    /// Of the values that the address has of `columns`, each a name or several with commas; with those that are none.
    pub(super) fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> (Self, Vec<String>) {
        let (mut chosen, mut unread) = (Vec::new(), Vec::new());
        for name in values.into_iter().flat_map(|value| value.split(',')).map(str::trim) {
            match Column::ALL.iter().find(|column| column.as_str() == name) {
                Some(column) => chosen.push(*column),
                None if name.is_empty() => {}
                None => unread.push(name.to_owned()),
            }
        }
        let columns: Vec<Column> = Column::ALL.into_iter().filter(|column| chosen.contains(column)).collect();
        (if columns.is_empty() { Self::default() } else { Self(columns) }, unread)
    }

    /// As a link says them; nothing where they are the usual ones.
    pub(super) fn pair(&self) -> Option<(&'static str, String)> {
        let names: Vec<&str> = self.0.iter().map(|column| column.as_str()).collect();
        (*self != Self::default()).then(|| ("columns", names.join(",")))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Column> {
        self.0.iter().copied()
    }

    pub(super) fn has(&self, column: Column) -> bool {
        self.0.contains(&column)
    }
}

/// How the case ended, beside its name, unless a column says it.
pub(super) fn ended(case: &CaseLine, columns: &Columns) -> Option<AnyView> {
    let is_told = case.status == CaseStatus::Ok || columns.has(Column::Status);
    (!is_told).then(|| view! { <State word=case.status.as_str() tone=Tone::from(case.status) /> }.into_any())
}

#[cfg(test)]
mod tests {
    use super::{Column, Columns};

    #[test]
    fn chosen_columns_stand_in_one_order_and_the_usual_ones_are_not_written() {
        for (values, pair, unread) in [
            (&[][..], None, &[][..]),
            (&["peak", "how"], Some("how,peak"), &[]),
            (&["peak,how", "status"], Some("how,peak,status"), &[]),
            (&["colour", "peak"], Some("peak"), &["colour"]),
            (&["colour"], None, &["colour"]),
            (&["when,where,error,peak,ttft,prefill,decode,tokens,batch,how"], None, &[]),
        ] {
            let (columns, told) = Columns::read(values.iter().copied());
            assert_eq!(columns.pair().map(|p| p.1).as_deref(), pair, "{values:?}");
            assert_eq!(told, unread, "{values:?}");
        }
        let names: std::collections::HashSet<_> = Column::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(names.len(), Column::ALL.len());
    }
}
