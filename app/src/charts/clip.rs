//! Lines and grounds, cut at the frame of a plot.

/// A place on both axes, evenly divided.
pub(super) type Place = (f64, f64);

/// What a plot shows of both axes: least and largest place along each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
}

impl Frame {
    fn contains(&self, (x, y): Place) -> bool {
        (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y)
    }

    /// Where the way from one place to another is within the frame, as shares of it (Liang and Barsky, 1984).
    fn within(&self, from: Place, to: Place) -> Option<(f64, f64)> {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let (mut enters, mut leaves) = (0f64, 1f64);
        for (towards, room) in [
            (-dx, from.0 - self.x.0),
            (dx, self.x.1 - from.0),
            (-dy, from.1 - self.y.0),
            (dy, self.y.1 - from.1),
        ] {
            if towards < 0.0 {
                enters = enters.max(room / towards);
            } else if towards > 0.0 {
                leaves = leaves.min(room / towards);
            } else if room < 0.0 {
                return None;
            }
        }
        // Touching the frame is not being in it.
        (enters < leaves).then_some((enters, leaves))
    }

    /// The stretches of a line that are within the frame.
    pub(super) fn line(&self, places: &[Place]) -> Vec<Vec<Place>> {
        let mut stretches: Vec<Vec<Place>> = Vec::new();
        if let [only] = places {
            stretches.extend(self.contains(*only).then(|| vec![*only]));
        }
        let mut goes_on = false;
        for pair in places.windows(2) {
            let Some((enters, leaves)) = self.within(pair[0], pair[1]) else {
                goes_on = false;
                continue;
            };
            let end = along(pair[0], pair[1], leaves);
            match stretches.last_mut() {
                Some(last) if goes_on && enters <= 0.0 => last.push(end),
                _ => stretches.push(vec![along(pair[0], pair[1], enters), end]),
            }
            goes_on = leaves >= 1.0;
        }
        stretches
    }

    /// The part of an area that is within the frame, side after side (Sutherland and Hodgman, 1974).
    pub(super) fn area(&self, outline: Vec<Place>) -> Vec<Place> {
        /// How far a place is within one side; below zero it is beyond it.
        type Side = fn(&Frame, Place) -> f64;
        let sides: [Side; 4] = [
            |frame, place| place.0 - frame.x.0,
            |frame, place| frame.x.1 - place.0,
            |frame, place| place.1 - frame.y.0,
            |frame, place| frame.y.1 - place.1,
        ];
        sides.into_iter().fold(outline, |outline, side| {
            let mut left = Vec::with_capacity(outline.len());
            let before = outline.iter().cycle().skip(outline.len().saturating_sub(1));
            for (from, to) in before.zip(&outline) {
                let (had, has) = (side(self, *from), side(self, *to));
                if (had < 0.0) != (has < 0.0) {
                    left.push(along(*from, *to, had / (had - has)));
                }
                if has >= 0.0 {
                    left.push(*to);
                }
            }
            left
        })
    }
}

/// The place after a share of the way.
fn along(from: Place, to: Place, share: f64) -> Place {
    // The ends themselves are exact.
    if share <= 0.0 {
        from
    } else if share >= 1.0 {
        to
    } else {
        (share.mul_add(to.0 - from.0, from.0), share.mul_add(to.1 - from.1, from.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { x: (0.0, 10.0), y: (0.0, 10.0) };

    #[test]
    fn lines_end_at_the_frame() {
        for (line, want) in [
            (vec![], vec![]),
            (vec![(5.0, 5.0)], vec![vec![(5.0, 5.0)]]),
            (vec![(5.0, 15.0)], vec![]),
            // Within, its ends on the frame.
            (vec![(0.0, 0.0), (4.0, 10.0), (10.0, 3.0)], vec![vec![(0.0, 0.0), (4.0, 10.0), (10.0, 3.0)]]),
            // In from the left, out above.
            (vec![(-5.0, 0.0), (5.0, 10.0), (6.0, 30.0)], vec![vec![(0.0, 5.0), (5.0, 10.0)]]),
            // Out and in again.
            (
                vec![(2.0, 5.0), (2.0, 15.0), (4.0, 15.0), (4.0, 5.0)],
                vec![vec![(2.0, 5.0), (2.0, 10.0)], vec![(4.0, 10.0), (4.0, 5.0)]],
            ),
            // Across, with no point of its own within.
            (vec![(-10.0, 5.0), (30.0, 5.0)], vec![vec![(0.0, 5.0), (10.0, 5.0)]]),
            // Past a corner.
            (vec![(-3.0, 8.0), (4.0, 14.0)], vec![]),
            (vec![(-3.0, 2.0), (-3.0, 8.0)], vec![]),
        ] {
            assert_eq!(FRAME.line(&line), want, "{line:?}");
        }
    }

    #[test]
    fn areas_end_at_the_frame() {
        let inside = vec![(1.0, 1.0), (9.0, 1.0), (5.0, 9.0)];
        for (area, want) in [
            (vec![], vec![]),
            (inside.clone(), inside),
            (vec![(20.0, 1.0), (30.0, 1.0), (25.0, 9.0)], vec![]),
            // A band through the frame.
            (
                vec![(-10.0, 4.0), (20.0, 4.0), (20.0, 6.0), (-10.0, 6.0)],
                vec![(0.0, 4.0), (10.0, 4.0), (10.0, 6.0), (0.0, 6.0)],
            ),
            // The frame itself, where all around it is covered.
            (
                vec![(-5.0, -5.0), (15.0, -5.0), (15.0, 15.0), (-5.0, 15.0)],
                vec![(0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)],
            ),
        ] {
            let mut left = FRAME.area(area.clone());
            // Where the outline begins is no matter.
            let close = |a: &Place, b: &Place| (a.0 - b.0).hypot(a.1 - b.1) < 1e-9;
            let first = want.first().and_then(|first| left.iter().position(|place| close(place, first)));
            left.rotate_left(first.unwrap_or(0));
            let is_wanted = left.len() == want.len() && left.iter().zip(&want).all(|(a, b)| close(a, b));
            assert!(is_wanted, "{area:?} became {left:?}");
        }
    }
}
