//! Instruction sets.

use std::fmt;
use std::sync::OnceLock;

/// What the kernels of this module are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust.
    Portable,
    /// AVX2, FMA and F16C.
    Avx2,
    /// These and AVX-VNNI: products of bytes summed in one instruction.
    AvxVnni,
    /// These and the same instruction of AVX-512 VNNI with AVX-512 VL, on vectors of 256 bits.
    Avx512Vnni,
}

impl Isa {
    /// The best that this processor has.
    #[must_use]
    pub fn detected() -> Self {
        static DETECTED: OnceLock<Isa> = OnceLock::new();
        *DETECTED.get_or_init(|| Self::available().last().copied().unwrap_or(Self::Portable))
    }

    /// Those that this processor has, the best last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            found.push(Self::Avx2);
            if is_x86_feature_detected!("avxvnni") {
                found.push(Self::AvxVnni);
            }
            if is_x86_feature_detected!("avx512vnni")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
            {
                found.push(Self::Avx512Vnni);
            }
        }
        found
    }

    /// Whether this processor has it.
    ///
    /// # Errors
    /// It has not.
    pub(super) fn check(self) -> candle_core::Result<()> {
        if self != Self::detected() && !Self::available().contains(&self) {
            candle_core::bail!("this processor has no {self}; it has {:?}", Self::available())
        }
        Ok(())
    }

    /// As the rows of a run spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
