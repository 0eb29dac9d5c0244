//! SVG to PNG, with the server's own font: the picture is the same on every machine.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, Source};
use resvg::usvg::{self, ImageHrefResolver, Options, Tree};

/// The family that every text is drawn in: Inter 4.0, regular and semibold (`server/fonts/LICENSE-Inter.txt`).
const FAMILY: &str = "Inter";
const FACES: [&[u8]; 2] =
    [include_bytes!("../fonts/Inter-Regular.otf"), include_bytes!("../fonts/Inter-SemiBold.otf")];
/// The most pixels of a picture: at four bytes each, 64 MiB.
const MAX_PIXELS: f64 = (16 << 20) as f64;

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    for face in FACES {
        fonts.load_font_source(Source::Binary(Arc::new(face)));
    }
    // Whatever family a drawing names, there is this one.
    fonts.set_serif_family(FAMILY);
    fonts.set_sans_serif_family(FAMILY);
    fonts.set_monospace_family(FAMILY);
    Arc::new(fonts)
});

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum RasterError {
    /// The drawing is no SVG.
    #[error("the drawing is no SVG that can be read: {0}")]
    Svg(#[from] usvg::Error),
    /// It would have no pixel, or too many.
    #[error(
        "a picture of {width} pixels' width would have {pixels} pixels; at least 1 and at most {max} are drawn",
        max = MAX_PIXELS
    )]
    Size {
        /// The width asked, in pixels.
        width: u32,
        /// The pixels that it would have.
        pixels: f64,
    },
    /// The PNG could not be written.
    #[error("the picture could not be written as PNG: {0}")]
    Encode(String),
}

/// The drawing as a PNG of `width` pixels, as high as its own proportions ask. CSS variables mean nothing in it: colours are
/// given as they are. Files that it names are not read. It takes tens of milliseconds of a thread.
///
/// # Errors
/// The text is no SVG, or the picture would have no pixel or more than 16 million.
pub fn png(svg: &str, width: u32) -> Result<Vec<u8>, RasterError> {
    let options = Options {
        font_family: FAMILY.to_owned(),
        fontdb: Arc::clone(&FONTS),
        image_href_resolver: ImageHrefResolver {
            resolve_data: Box::new(|_, _, _| None),
            resolve_string: Box::new(|_, _| None),
        },
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options)?;
    let scale = width as f32 / tree.size().width();
    let height = (tree.size().height() * scale).round();
    let pixels = f64::from(width) * f64::from(height);
    let too_large = || RasterError::Size { width, pixels };
    if !(1.0..=MAX_PIXELS).contains(&pixels) {
        return Err(too_large());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between 1 and the most pixels"
    )]
    let mut picture = Pixmap::new(width, height as u32).ok_or_else(too_large)?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut picture.as_mut());
    picture.encode_png().map_err(|error| RasterError::Encode(error.to_string()))
}

#[cfg(test)]
mod tests;
