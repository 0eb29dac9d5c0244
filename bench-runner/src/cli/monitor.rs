//! `bench-runner monitor`: GPUs and host, live.

use std::io::IsTerminal;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::CliError;
use super::output;
use crate::monitor::{Monitor, draw};

/// Show GPU memory, utilisation, power, temperature and the bytes of each process, live on the terminal; without a GPU the
/// host's memory and processor and the programs of Plimsoll.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    bench-runner monitor\n  \
    bench-runner monitor --json --interval 1s | tee gpu.jsonl\n  \
    bench-runner monitor --json --count 1")]
pub(super) struct MonitorArgs {
    /// Print a line of JSON for each look instead of drawing
    #[arg(long, env = "PLIMSOLL_JSON")]
    json: bool,
    /// Between two looks: 500ms, 2s
    #[arg(short, long, env = "PLIMSOLL_INTERVAL", value_name = "TIME", default_value = "500ms")]
    interval: Interval,
    /// End after that many looks [default: go on]
    #[arg(short, long, env = "PLIMSOLL_COUNT", value_name = "N")]
    count: Option<NonZeroU64>,
}

/// A time between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Interval(Duration);

impl FromStr for Interval {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let accepted = "accepted: 100ms to 3600s, with ms or s behind the number";
        let (number, unit_ms) = match text.strip_suffix("ms") {
            Some(number) => (number, 1),
            None => {
                (text.strip_suffix('s').ok_or_else(|| format!("\"{text}\" has no unit; {accepted}"))?, 1000)
            }
        };
        let number: u64 = number.trim().parse().map_err(|_| format!("\"{text}\" is no time; {accepted}"))?;
        match number.saturating_mul(unit_ms) {
            ms @ 100..=3_600_000 => Ok(Self(Duration::from_millis(ms))),
            _ => Err(format!("\"{text}\" is out of range; {accepted}")),
        }
    }
}

pub(super) fn monitor(args: &MonitorArgs) -> Result<(), CliError> {
    let mut monitor = Monitor::open().map_err(CliError::work)?;
    let count = args.count.map_or(u64::MAX, NonZeroU64::get);
    if args.json {
        return lines(&mut monitor, args.interval.0, count);
    }
    if !std::io::stdout().is_terminal() {
        return Err(CliError::Input(
            "standard output is no terminal; give --json for lines of JSON".to_owned(),
        ));
    }
    let mut terminal = ratatui::try_init().map_err(|e| CliError::Work(format!("the terminal: {e}")))?;
    let shown = screen(&mut terminal, &mut monitor, args.interval.0, count);
    ratatui::restore();
    shown.map_err(|e| CliError::Work(format!("the terminal: {e}")))
}

fn lines(monitor: &mut Monitor, interval: Duration, count: u64) -> Result<(), CliError> {
    for look in 1..=count {
        let text = serde_json::to_string(&monitor.look()).map_err(CliError::work)?;
        if !output::line_is_read(text)? || look == count {
            break;
        }
        std::thread::sleep(interval);
    }
    Ok(())
}

fn screen(
    terminal: &mut ratatui::DefaultTerminal,
    monitor: &mut Monitor,
    interval: Duration,
    count: u64,
) -> std::io::Result<()> {
    let hint = format!("every {} ms, q quits", interval.as_millis());
    for _ in 0..count {
        let snapshot = monitor.look();
        let next = Instant::now() + interval;
        loop {
            terminal.draw(|frame| draw(frame, &snapshot, &hint))?;
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left)? {
                break;
            }
            // Any other event, a new size too, draws the same look again.
            if let Event::Key(key) = event::read()?
                && quits(key)
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// `q`, Escape, and Ctrl-C, which a terminal in this mode does not make a signal.
fn quits(key: KeyEvent) -> bool {
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Interval, KeyCode, KeyEvent, KeyModifiers, quits};

    #[test]
    fn intervals_have_a_unit_and_a_range() {
        for (text, ms) in [("500ms", 500), ("2s", 2000), ("100ms", 100), ("3600s", 3_600_000)] {
            assert_eq!(text.parse(), Ok(Interval(Duration::from_millis(ms))), "{text}");
        }
        for (text, part) in [
            ("500", "has no unit"),
            ("fasts", "is no time"),
            ("-1s", "is no time"),
            ("99ms", "out of range"),
            ("3601s", "out of range"),
            ("18446744073709551615s", "out of range"),
        ] {
            let error = text.parse::<Interval>().unwrap_err();
            assert!(error.contains(part) && error.contains("accepted: 100ms"), "{error}");
        }
    }

    #[test]
    fn keys_that_leave() {
        let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert!(quits(plain(KeyCode::Char('q'))) && quits(plain(KeyCode::Esc)));
        assert!(quits(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!quits(plain(KeyCode::Char('c'))) && !quits(plain(KeyCode::Enter)));
    }
}
