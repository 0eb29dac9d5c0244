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
