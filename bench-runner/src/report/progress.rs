//! Progress: a bar with the time that is left on a terminal, plain lines otherwise; on standard error.

use std::io::IsTerminal;
use std::time::Duration;

use contract::case::{Case, CaseStatus, key_in_words};
use contract::job::Progress;
use contract::measurement::Phase;
use contract::statistics::CaseSpeed;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::sweep::Observer;

/// Prints progress.
pub struct Reporter {
    bar: Option<ProgressBar>,
    quiet: bool,
}

impl Reporter {
    /// A bar where standard error is a terminal, lines where it is not, nothing where `quiet`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            // The template is a constant; a wrong one would show indicatif's own style.
            if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} [{elapsed}]") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, quiet }
    }

    /// A line that stays.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if self.quiet => {}
            None => eprintln!("{text}"),
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `, 2 minutes left`; nothing before it is known.
fn left(progress: &Progress) -> String {
    progress
        .eta_ms
        .map(|ms| format!(", {} left", HumanDuration(Duration::from_millis(ms))))
        .unwrap_or_default()
}

impl Observer for Reporter {
    fn progress(&mut self, progress: &Progress) {
        let current = progress.current.as_deref().unwrap_or("done");
        let phase = progress.phase.as_deref().unwrap_or("starting");
        if let Some(bar) = &self.bar {
            bar.set_length(u64::from(progress.total));
            bar.set_position(u64::from(progress.done));
            bar.set_message(format!("{current}: {phase}{}", left(progress)));
        }
    }

    /// A line where there is no bar; beside a bar only what went wrong.
    fn ended(&mut self, case: &Case, progress: &Progress) {
        if self.bar.is_none() {
            let (done, total) = (progress.done, progress.total);
            self.note(&format!(
                "[{done}/{total}] {}: {}{}",
                key_in_words(&case.spec.key()),
                summary(case),
                left(progress)
            ));
        } else if case.status != CaseStatus::Ok {
            self.note(&format!("{}: {}", key_in_words(&case.spec.key()), summary(case)));
        }
    }

    /// Said where progress is not wanted, too.
    fn warning(&mut self, text: &str) {
        let line = format!("warning: {text}");
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }
}

/// One line of how a case ended.
fn summary(case: &Case) -> String {
    let Some(measurement) = case.measurement.as_ref().filter(|_| case.status == CaseStatus::Ok) else {
        let why = case.error.as_deref().unwrap_or("no reason given");
        return format!("{}: {why}", case.status);
    };
    let speed = CaseSpeed::of(&case.spec, measurement);
    let rate =
        |d: Option<contract::statistics::Distribution>| d.map_or("-".into(), |d| format!("{:.1}", d.mean));
    let peak = |phase: Phase| measurement.phase(phase).map_or("-".into(), |p| p.peak_allocated.to_string());
    if case.spec.training.is_some() {
        return format!(
            "trained {} tok/s, peak {} in forward, {} in backward, {} in the optimizer",
            rate(speed.training_tokens_per_second),
            peak(Phase::Forward),
            peak(Phase::Backward),
            peak(Phase::Optimizer),
        );
    }
    let quality = measurement
        .quality
        .as_ref()
        .map(|q| format!(", perplexity {:.2}, KL {:.4} nats", q.perplexity, q.kl_mean))
        .unwrap_or_default();
    let edge = measurement.edge.as_ref().map_or_else(String::new, |edge| {
        let fails = edge.smallest_failed.map_or_else(|| "none fails".to_owned(), |n| format!("{n} fails"));
        let predicted = edge.predicted.map_or_else(String::new, |n| format!(", {n} predicted"));
        format!("{} {} fits, {fails}{predicted}; ", edge.axis, edge.largest)
    });
    format!(
        "{edge}prefill {} tok/s, decode {} tok/s, peak {} in prefill, {} in decode{quality}",
        rate(speed.prefill_tokens_per_second),
        rate(speed.decode_tokens_per_second),
        peak(Phase::Prefill),
        peak(Phase::Decode),
    )
}
