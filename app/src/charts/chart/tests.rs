use super::*;

fn chart() -> Chart {
    let series = |name: &str, style, line, points: &[(f64, f64)]| Series {
        name: name.to_owned(),
        style,
        mark: if line == Line::Dashed { Mark::None } else { Mark::Filled },
        line,
        points: points.to_vec(),
    };
    Chart {
        title: "Decode rate \"by\" batch".to_owned(),
        x: Axis { label: "sequences at once".to_owned(), scale: Scale::Logarithmic },
        y: Axis { label: "decode, tok/s".to_owned(), scale: Scale::Linear },
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
    chart.series[0].points = vec![(0.0, 21.5), (1.0, 2100.0)];
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
