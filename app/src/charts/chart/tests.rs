use super::*;

fn chart() -> Chart {
    let series = |name: &str, style, line, points: &[(f64, f64)]| Series {
        name: name.to_owned(),
        style,
        colour: None,
        mark: if line == Line::Dashed { Mark::None } else { Mark::Filled },
        line,
        points: points.iter().map(|p| Point::at(p.0, p.1)).collect(),
    };
    Chart {
        title: "Decode rate \"by\" batch".to_owned(),
        size: (480, 300),
        x: Axis { label: "sequences at once".to_owned(), scale: Scale::Logarithmic, marks: Marks::Values },
        y: Axis { label: "decode, tok/s".to_owned(), scale: Scale::Linear, marks: Marks::Round },
        window: None,
        areas: Vec::new(),
        tiles: Vec::new(),
        series: vec![
            series("bf16", 0, Line::Solid, &[(1.0, 21.5), (2.0, 38.0), (8.0, 96.0)]),
            series("fp32", 1, Line::Dashed, &[(1.0, 12.5), (2.0, 24.0), (8.0, 61.0)]),
        ],
    }
}

#[test]
fn a_chart_is_drawn_in_the_style_sheets_colours() {
    let svg = chart().svg().unwrap();
    assert!(!svg.contains('#'), "a fixed colour is left: {svg}");
    insta::assert_snapshot!(svg);
}

#[test]
fn names_mark_the_places_of_single_cases() {
    let mut chart = chart();
    chart.x.scale = Scale::Names(vec!["bf16".to_owned(), "fp32".to_owned()]);
    chart.y.scale = Scale::Logarithmic;
    chart.series.truncate(1);
    chart.series[0].points = vec![Point::at(0.0, 21.5), Point::at(1.0, 2100.0)];
    insta::assert_snapshot!(chart.svg().unwrap());
}

#[test]
fn a_single_point_is_drawn() {
    let mut chart = chart();
    chart.series.truncate(1);
    chart.series[0].points.truncate(1);
    let svg = chart.svg().unwrap();
    assert!(!svg.contains("NaN"), "{svg}");
    assert!(svg.contains("<circle"), "{svg}");
}

#[test]
fn what_leads_somewhere_is_found_and_says_what_it_is() {
    let mut chart = chart();
    assert!(chart.svg().unwrap().contains("role=\"img\""));
    chart.series[0].points[0] =
        Point { x: 1.0, y: 21.5, said: "bf16 <1>".to_owned(), href: Some("/runs/1?a=1&b=2".to_owned()) };
    let svg = chart.svg().unwrap();
    assert!(svg.contains("role=\"group\""), "{svg}");
    let mark = "<a class=\"mark\" href=\"/runs/1?a=1&amp;b=2\" aria-label=\"bf16 &lt;1&gt;\"><title>bf16 &lt;1&gt;</title>";
    assert!(svg.contains(mark), "{svg}");
}

#[test]
fn series_of_one_name_are_shown_and_hidden_together() {
    let mut chart = chart();
    let mut estimated = chart.series[0].clone();
    estimated.line = Line::Dashed;
    chart.series.push(estimated);
    assert_eq!(chart.groups(), [0, 1, 0]);
}

#[test]
fn areas_lie_below_and_cells_hold_their_text() {
    let mut chart = chart();
    chart.x = Axis { scale: Scale::Names(vec!["a".into(), "b".into()]), marks: Marks::Round, ..chart.x };
    chart.y.scale = Scale::Signed;
    chart.series.truncate(1);
    chart.series[0].line = Line::Steps;
    chart.series[0].points = vec![Point::at(0.0, -3.0), Point::at(1.0, 4.0)];
    chart.areas = vec![Area {
        name: "band".into(),
        colour: Colour::INK,
        points: vec![(0.0, -2.0, 2.0), (1.0, -1.0, 1.0)],
    }];
    chart.tiles = vec![Tile {
        x: (0.6, 1.4),
        y: (0.0, 2.0),
        colour: Colour::series(0),
        opacity: 0.5,
        text: vec!["12".into(), "n = 3".into()],
        said: "twelve".into(),
        href: None,
    }];
    insta::assert_snapshot!(chart.svg().unwrap());
}

/// The texts beside the axes, without what the axes are.
fn labels(svg: &str) -> Vec<&str> {
    let texts = svg.split("<text ").skip(3);
    texts.filter_map(|part| Some(part.split_once('>')?.1.split_once('<')?.0.trim())).collect()
}

#[test]
fn a_part_of_it_is_drawn_with_axes_of_its_own() {
    let whole = chart();
    let span = |from, to| Span { from, to };
    // Vertical marks come first.
    for (x, y, marks, want) in [
        (span(None, None), span(None, None), 3, vec!["0", "50", "100", "1", "2", "8"]),
        (span(Some(1.5), Some(8.0)), span(None, None), 2, vec!["0", "50", "100", "2", "8"]),
        (
            span(None, Some(3.0)),
            span(Some(20.0), Some(40.0)),
            2,
            vec!["20", "25", "30", "35", "40", "1", "2"],
        ),
        (span(Some(7.9), Some(8.1)), span(Some(95.9), Some(96.1)), 1, vec!["95.90", "95.95"]),
        (span(Some(0.0), Some(1.5)), span(None, None), 1, vec!["0", "50", "100", "0.8", "1.0", "1.2", "1.4"]),
    ] {
        let mut chart = whole.clone();
        chart.window = Some(Window { x, y });
        let svg = chart.svg().unwrap();
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), marks, "{x:?} {y:?}");
        assert_eq!(chart.parted().0.len(), marks, "{x:?} {y:?}");
        assert_eq!(chart.parted().1.len(), 3 - marks, "{x:?} {y:?}");
        let labels = labels(&svg);
        assert!(labels.starts_with(&want), "{x:?} {y:?}: {labels:?}");
    }
}

#[test]
fn lines_and_grounds_stay_within_the_frame() {
    let mut chart = chart();
    chart.areas = vec![Area {
        name: "band".into(),
        colour: Colour::INK,
        points: vec![(1.0, 0.0, 90.0), (8.0, 10.0, 99.0)],
    }];
    chart.window = Some(Window {
        x: Span { from: Some(1.5), to: Some(4.0) },
        y: Span { from: Some(20.0), to: Some(30.0) },
    });
    let svg = chart.svg().unwrap();
    let (x, y) = (pixels(&svg, "x"), pixels(&svg, "y"));
    let mut drawn = 0;
    // What comes before the ground are the axes.
    let (_, layers) = svg.split_once("<polygon").unwrap();
    for outline in layers.split("points=\"").skip(1) {
        for place in outline.split('"').next().unwrap().split_whitespace() {
            let (left, top) = place.split_once(',').unwrap();
            let (left, top): (i32, i32) = (left.parse().unwrap(), top.parse().unwrap());
            assert!((x.0..=x.1).contains(&left) && (y.1..=y.0).contains(&top), "{place} of {svg}");
            drawn += 1;
        }
    }
    assert!(drawn >= 6, "a line and a ground cross the frame: {svg}");
}

/// Where an axis begins and ends.
fn pixels(svg: &str, axis: &str) -> (i32, i32) {
    let name = format!("data-{axis}-pixels=\"");
    let (_, rest) = svg.split_once(&name).unwrap();
    let (from, to) = rest.split_once('"').unwrap().0.split_once(' ').unwrap();
    (from.parse().unwrap(), to.parse().unwrap())
}

#[test]
fn the_drawing_says_which_pixels_are_which_values() {
    let mut chart = chart();
    assert!(!chart.svg().unwrap().contains("data-x"), "only where a part may be shown");
    chart.window = Some(Window {
        x: Span { from: Some(1.0), to: Some(100.0) },
        y: Span { from: Some(-4.0), to: Some(96.0) },
    });
    let svg = chart.svg().unwrap();
    for part in
        ["data-x-values=\"1 100\" data-x-scale=\"log\"", "data-y-values=\"-4 96\" data-y-scale=\"linear\""]
    {
        assert!(svg.contains(part), "no {part} in {svg}");
    }
    let (x, y) = (pixels(&svg, "x"), pixels(&svg, "y"));
    // A mark at 8 of 1 to 100, and at the upper end.
    let along = f64::from(x.0) + 8f64.log10() / 2.0 * f64::from(x.1 - x.0);
    assert!(svg.contains(&format!("<circle cx=\"{along:.0}\" cy=\"{}\"", y.1)), "{svg}");
}
