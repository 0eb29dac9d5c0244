use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::snapshot::tests::snapshot;
use super::super::snapshot::{ProcessView, Snapshot};
use super::draw;

fn drawn(snapshot: &Snapshot, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, snapshot, "every 500 ms, q quits")).unwrap();
    terminal.backend().to_string()
}

#[test]
fn one_gpu_on_a_small_terminal() {
    insta::assert_snapshot!(drawn(&snapshot(1), 80, 24));
}

#[test]
fn two_gpus_on_a_large_terminal() {
    insta::assert_snapshot!(drawn(&snapshot(2), 120, 40));
}

#[test]
fn eight_gpus_have_a_line_each_on_a_small_terminal() {
    insta::assert_snapshot!(drawn(&snapshot(8), 80, 24));
}

#[test]
fn a_machine_without_gpus_shows_the_host_and_why() {
    let text = drawn(&snapshot(0), 80, 24);
    assert!(text.contains("no NVIDIA driver here: NVML cannot be opened"), "{text}");
    assert!(text.contains("host, 16 logical cores") && text.contains("24.0 of 128.0 GiB"), "{text}");
    assert!(!text.contains("VRAM"), "{text}");
}

#[test]
fn what_has_no_room_is_counted() {
    let mut crowd = snapshot(0);
    let many =
        (0..50).map(|pid| ProcessView { pid, name: Some("bench-runner".to_owned()), bytes: Some(1 << 20) });
    crowd.runners = many.collect();
    let text = drawn(&crowd, 80, 24);
    let shown = text.lines().filter(|line| line.contains("bench-runner")).count();
    assert!(text.contains(&format!("and {} more", 50 - shown)), "{text}");
}

#[test]
fn a_terminal_of_any_size_is_drawn() {
    for (width, height) in [(1, 1), (10, 3), (20, 8), (300, 100)] {
        for gpus in [0, 1, 8] {
            let text = drawn(&snapshot(gpus), width, height);
            assert_eq!(text.lines().count(), usize::from(height), "{width} × {height}");
        }
    }
}
