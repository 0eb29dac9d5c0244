//! Precisions as the contract spells them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A precision that the contract does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} precision \"{given}\"; accepted: {accepted}")]
pub struct UnknownPrecision {
    /// Of what: `weights`, `kv_cache` or `activations`.
    pub what: &'static str,
    /// What was given.
    pub given: String,
    /// What is accepted.
    pub accepted: String,
}

macro_rules! precision {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        #[allow(missing_docs, reason = "the names are the field's own")]
        pub enum $name { $($variant),+ }

        impl $name {
            /// Every precision, in the order of the contract.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As the contract spells it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownPrecision;
            fn from_str(given: &str) -> Result<Self, UnknownPrecision> {
                let lower = given.to_ascii_lowercase();
                Self::ALL.iter().copied().find(|p| p.as_str() == lower).ok_or_else(|| UnknownPrecision {
                    what: $what,
                    given: given.to_owned(),
                    accepted: Self::ALL.iter().map(|p| p.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl TryFrom<String> for $name {
            type Error = UnknownPrecision;
            fn try_from(given: String) -> Result<Self, UnknownPrecision> {
                given.parse()
            }
        }

        impl From<$name> for String {
            fn from(p: $name) -> Self {
                p.as_str().to_owned()
            }
        }
    };
}

precision! {
    /// How weights are stored.
    WeightPrecision, "weights", {
        Fp32 => "fp32", Tf32 => "tf32", Bf16 => "bf16", Fp16 => "fp16", Fp8 => "fp8", Int8 => "int8",
        W8a8 => "w8a8", Int4G128 => "int4-g128", Nf4 => "nf4", Nf4Dq => "nf4-dq", Mxfp4 => "mxfp4",
        Nvfp4 => "nvfp4",
        GgufF32 => "gguf:f32", GgufF16 => "gguf:f16", GgufBf16 => "gguf:bf16", GgufQ8_0 => "gguf:q8_0",
        GgufQ6K => "gguf:q6_k", GgufQ5KM => "gguf:q5_k_m", GgufQ5KS => "gguf:q5_k_s", GgufQ5_1 => "gguf:q5_1",
        GgufQ5_0 => "gguf:q5_0", GgufQ4KM => "gguf:q4_k_m", GgufQ4KS => "gguf:q4_k_s", GgufQ4_1 => "gguf:q4_1",
        GgufQ4_0 => "gguf:q4_0", GgufIq4Nl => "gguf:iq4_nl", GgufIq4Xs => "gguf:iq4_xs",
        GgufQ3KL => "gguf:q3_k_l", GgufQ3KM => "gguf:q3_k_m", GgufQ3KS => "gguf:q3_k_s",
        GgufIq3M => "gguf:iq3_m", GgufIq3S => "gguf:iq3_s", GgufIq3Xs => "gguf:iq3_xs",
        GgufIq3Xxs => "gguf:iq3_xxs", GgufQ2K => "gguf:q2_k", GgufQ2KS => "gguf:q2_k_s",
        GgufIq2M => "gguf:iq2_m", GgufIq2S => "gguf:iq2_s", GgufIq2Xs => "gguf:iq2_xs",
        GgufIq2Xxs => "gguf:iq2_xxs", GgufIq1M => "gguf:iq1_m", GgufIq1S => "gguf:iq1_s",
    }
}

precision! {
    /// How the KV cache is stored.
    CachePrecision, "kv_cache", {
        Fp32 => "fp32", Bf16 => "bf16", Fp16 => "fp16", Fp8 => "fp8", Int8 => "int8", Q8_0 => "q8_0",
        Q5_1 => "q5_1", Q5_0 => "q5_0", Q4_1 => "q4_1", Q4_0 => "q4_0",
    }
}

precision! {
    /// How activations are computed and stored.
    ActivationPrecision, "activations", {
        Fp32 => "fp32", Tf32 => "tf32", Bf16 => "bf16", Fp16 => "fp16",
    }
}
