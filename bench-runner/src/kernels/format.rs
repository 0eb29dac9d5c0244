//! Types of blocks, as their tiles are laid out.
//!
//! A tile is eight rows of a matrix. Of each 32 columns it has eight *groups* of four columns; a group is 32 bytes, four of
//! each row. Numbers of four and five bits have groups *g* and *g* + 4 in the halves of the same bytes; fifth bits follow,
//! 32 bytes of which bit *g* belongs to group *g*. Scales and offsets of all tiles come after all numbers.

/// Rows of a tile.
pub(super) const ROWS: usize = 8;
/// Columns of a block.
pub(super) const BLOCK: usize = 32;
/// Groups of a block.
pub(super) const GROUPS: usize = 8;

/// A type of blocks that the kernels multiply (`ggml/src/ggml-common.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 4 bits less 8, a scale.
    Q4_0,
    /// 4 bits, a scale and an offset.
    Q4_1,
    /// 5 bits less 16, a scale.
    Q5_0,
    /// 5 bits, a scale and an offset.
    Q5_1,
    /// 8 signed bits, a scale.
    Q8_0,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0];

    /// As rows spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Bytes of a block of 32 as a file has it.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
        }
    }

    /// Bytes of a tile's numbers of 32 columns.
    pub(super) const fn tile_bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 => 4 * 32,
            Self::Q5_0 | Self::Q5_1 => 5 * 32,
            Self::Q8_0 => 8 * 32,
        }
    }

    /// Whether a block has an offset of its own.
    pub(super) const fn has_offset(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1)
    }

    /// Half-precision numbers of a tile's 32 columns: scales, then offsets.
    pub(super) const fn tile_scales(self) -> usize {
        if self.has_offset() { 2 * ROWS } else { ROWS }
    }
}

/// A [`Kind`] that the compiler knows.
pub(super) trait Format {
    const KIND: Kind;
    /// Bits of a number.
    const BITS: u32;
    /// What a stored number stands above the one that it means.
    const ZERO: f32;
}

macro_rules! formats {
    ($($name:ident: $bits:literal, $zero:literal;)+) => {
        $(pub(super) struct $name;
        impl Format for $name {
            const KIND: Kind = Kind::$name;
            const BITS: u32 = $bits;
            const ZERO: f32 = $zero;
        })+
    };
}

formats! {
    Q4_0: 4, 8.0;
    Q4_1: 4, 0.0;
    Q5_0: 5, 16.0;
    Q5_1: 5, 0.0;
    Q8_0: 8, 0.0;
}
