//! A snapshot on a terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, LineGauge, Paragraph, Row, Table};

use super::snapshot::{GpuView, HostView, ProcessView, Snapshot};

/// Lines of a GPU's block without its processes: border, three gauges, clocks.
const GPU_LINES: u16 = 6;

/// Lines of the host's block without its processes.
const HOST_LINES: u16 = 4;

/// Columns of a gauge's label.
const LABEL: usize = 30;

/// Draws `snapshot`; `hint` says how to leave.
pub fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot, hint: &str) {
    let area = frame.area();
    let notes = u16::from(snapshot.note.is_some());
    let gpus = gpu_constraint(snapshot, area.height.saturating_sub(1 + notes));
    let [head, note, gpus_area, host] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(notes),
        gpus,
        Constraint::Min(HOST_LINES),
    ])
    .areas(area);
    frame.render_widget(Line::from(vec!["plimsoll monitor".bold(), format!("   {hint}").dim()]), head);
    if let Some(text) = &snapshot.note {
        frame.render_widget(Line::from(text.as_str()).fg(Color::Yellow), note);
    }
    draw_gpus(frame, gpus_area, &snapshot.gpus);
    draw_host(frame, host, &snapshot.host, &snapshot.runners);
}

/// How many lines the GPUs have: as many as they fill, and at most what leaves the host its own.
fn gpu_constraint(snapshot: &Snapshot, height: u16) -> Constraint {
    let filled: usize =
        snapshot.gpus.iter().map(|gpu| usize::from(GPU_LINES) + gpu.processes.len().max(1)).sum();
    let runners = snapshot.runners.len().clamp(1, 4);
    let host = HOST_LINES + u16::try_from(runners).unwrap_or(4);
    Constraint::Length(u16::try_from(filled).unwrap_or(u16::MAX).min(height.saturating_sub(host)))
}

/// A block for each GPU, or a line where there is no room for blocks.
fn draw_gpus(frame: &mut Frame<'_>, area: Rect, gpus: &[GpuView]) {
    let Some(each) = usize::from(area.height).checked_div(gpus.len()) else { return };
    if each < usize::from(GPU_LINES) {
        return draw_list(frame, area, gpus);
    }
    let wanted =
        |gpu: &GpuView| GPU_LINES + u16::try_from(gpu.processes.len().max(1)).unwrap_or(u16::MAX - GPU_LINES);
    let areas = Layout::vertical(gpus.iter().map(|gpu| Constraint::Max(wanted(gpu)))).split(area);
    for (gpu, area) in gpus.iter().zip(areas.iter()) {
        draw_gpu(frame, *area, gpu);
    }
}

fn draw_gpu(frame: &mut Frame<'_>, area: Rect, gpu: &GpuView) {
    let title = format!(" {}: {}, driver {} ", gpu.index, gpu.name, gpu.driver);
    let block = Block::bordered().title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [vram, busy, power, clocks, processes] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
    ])
    .areas(inner);
    let total = gpu.memory_bytes;
    gauge(frame, vram, "VRAM", &used_of(gpu.used_bytes, total), part(gpu.used_bytes, total));
    let percent = gpu.utilisation_percent;
    let text = percent.map_or_else(unknown, |percent| format!("{percent} %"));
    gauge(frame, busy, "busy", &text, percent.map(|percent| f64::from(percent) / 100.0));
    let text = match (gpu.power_w, gpu.power_limit_w) {
        (Some(power), Some(limit)) => format!("{power:.0} of {limit:.0} W"),
        (Some(power), None) => format!("{power:.0} W"),
        (None, _) => unknown(),
    };
    let ratio = gpu.power_w.zip(gpu.power_limit_w).filter(|(_, limit)| *limit > 0.0).map(|(p, l)| p / l);
    gauge(frame, power, "power", &text, ratio);
    let mhz = |clock: Option<u32>| clock.map_or_else(unknown, |mhz| format!("{mhz} MHz"));
    let held = match &gpu.throttle_reasons[..] {
        [] => String::new(),
        reasons => format!("   held back: {}", reasons.join(", ")),
    };
    let temperature = gpu.temperature_c.map_or_else(unknown, |c| format!("{c} °C"));
    let line =
        format!("{temperature}   SM {}   memory {}{held}", mhz(gpu.clock_mhz), mhz(gpu.memory_clock_mhz));
    frame.render_widget(Line::from(line), clocks);
    draw_processes(frame, processes, &gpu.processes, "no process computes on it");
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, gpus: &[GpuView]) {
    let rows = gpus.iter().map(|gpu| {
        let whole =
            |value: Option<u32>, unit: &str| value.map_or_else(unknown, |value| format!("{value} {unit}"));
        Row::new([
            gpu.index.to_string(),
            gpu.name.clone(),
            used_of(gpu.used_bytes, gpu.memory_bytes),
            whole(gpu.utilisation_percent, "%"),
            gpu.power_w.map_or_else(unknown, |power| format!("{power:.0} W")),
            whole(gpu.temperature_c, "°C"),
        ])
    });
    let widths = [
        Constraint::Length(3),
        Constraint::Fill(1),
        Constraint::Length(20),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(7),
    ];
    let header = Row::new(["GPU", "name", "VRAM", "busy", "power", "heat"]).dim();
    frame.render_widget(Table::new(rows, widths).header(header), area);
}

fn draw_host(frame: &mut Frame<'_>, area: Rect, host: &HostView, runners: &[ProcessView]) {
    let block = Block::bordered().title(format!(" host, {} logical cores ", host.cores));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [memory, cpu, processes] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Min(0)]).areas(inner);
    let used = Some(host.used_bytes);
    gauge(frame, memory, "memory", &used_of(used, host.memory_bytes), part(used, host.memory_bytes));
    let text = host.cpu_percent.map_or_else(unknown, |percent| format!("{percent:.0} %"));
    gauge(frame, cpu, "cpu", &text, host.cpu_percent.map(|percent| f64::from(percent) / 100.0));
    draw_processes(frame, processes, runners, "no program of Plimsoll runs");
}

/// As many processes as there are lines; the last line says how many more there are.
fn draw_processes(frame: &mut Frame<'_>, area: Rect, processes: &[ProcessView], none: &str) {
    let line = |process: &ProcessView| {
        let bytes = process.bytes.map_or_else(unknown, gib);
        let name = process.name.as_deref().unwrap_or("(not of this container)");
        Line::from(format!("{:>9}  {bytes:>11}  {name}", process.pid))
    };
    let room = usize::from(area.height);
    let lines: Vec<Line<'_>> = if processes.is_empty() {
        vec![Line::from(none).dim()]
    } else if processes.len() > room {
        let shown = room.saturating_sub(1);
        let more = format!("{:>9}  and {} more", "", processes.len() - shown);
        processes[..shown].iter().map(line).chain([Line::from(more).dim()]).collect()
    } else {
        processes.iter().map(line).collect()
    };
    frame.render_widget(Paragraph::new(lines), area);
}

/// A named bar with its figure; without a bar where the part is not known.
fn gauge(frame: &mut Frame<'_>, area: Rect, name: &str, text: &str, ratio: Option<f64>) {
    let label = format!("{name:<7}{text:<width$}", width = LABEL - 7);
    match ratio.filter(|ratio| ratio.is_finite()) {
        Some(ratio) => {
            let gauge = LineGauge::default()
                .ratio(ratio.clamp(0.0, 1.0))
                .label(label)
                .filled_symbol("█")
                .unfilled_symbol("·")
                .filled_style(Style::new().fg(colour(ratio)));
            frame.render_widget(gauge, area);
        }
        None => frame.render_widget(Line::from(label), area),
    }
}

/// Calm, near the limit, at it.
fn colour(ratio: f64) -> Color {
    match ratio {
        r if r < 0.8 => Color::Green,
        r if r < 0.95 => Color::Yellow,
        _ => Color::Red,
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// Binary gigabytes.
fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64)
}

fn used_of(used: Option<u64>, total: u64) -> String {
    let total = total as f64 / (1u64 << 30) as f64;
    match used {
        Some(used) => format!("{:.1} of {total:.1} GiB", used as f64 / (1u64 << 30) as f64),
        None => format!("unknown of {total:.1} GiB"),
    }
}

fn part(used: Option<u64>, total: u64) -> Option<f64> {
    (total > 0).then_some(used? as f64 / total as f64)
}

#[cfg(test)]
mod tests;
