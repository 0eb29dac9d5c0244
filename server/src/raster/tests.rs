use super::*;

fn drawn(svg: &str, width: u32) -> Pixmap {
    Pixmap::decode_png(&png(svg, width).unwrap()).unwrap()
}

fn dark(picture: &Pixmap) -> usize {
    picture.pixels().iter().filter(|pixel| pixel.alpha() > 128 && pixel.red() < 128).count()
}

fn text(attributes: &str) -> String {
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 200 50'><text x='4' y='36' font-size='30' \
         {attributes}>Load line ±</text></svg>"
    )
}

#[test]
fn a_picture_has_the_width_asked_and_the_drawings_proportions() {
    let svg = text("");
    for (width, height) in [(200, 50), (1200, 300), (50, 13)] {
        let picture = drawn(&svg, width);
        assert_eq!((picture.width(), picture.height()), (width, height));
    }
}

#[test]
fn text_is_drawn_whatever_family_it_asks_for() {
    let own = dark(&drawn(&text(""), 400));
    assert!(own > 1000, "{own} dark pixels");
    for family in ["Inter", "sans-serif", "serif", "monospace", "No Such Font, system-ui"] {
        assert_eq!(dark(&drawn(&text(&format!("font-family='{family}'")), 400)), own, "{family}");
    }
    assert!(dark(&drawn(&text("font-weight='600'"), 400)) > own, "semibold is another face");
}

#[test]
fn what_cannot_be_drawn_is_told() {
    let svg = text("");
    for (svg, width, said) in [
        ("<p>no</p>", 100, "no SVG"),
        ("<svg", 100, "no SVG"),
        (svg.as_str(), 0, "would have 0 pixels"),
        (svg.as_str(), 1_000_000, "16777216 are drawn"),
    ] {
        let error = png(svg, width).unwrap_err().to_string();
        assert!(error.contains(said), "{svg} at {width}: {error}");
    }
}
