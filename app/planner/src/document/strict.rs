//! Tagged choices that refuse what they do not know.
//!
//! serde's `deny_unknown_fields` lets a choice without fields of its own, such as `{"kind": "flash", "window": 1}`, pass
//! with anything beside its tag. The contract does not: an unknown field is an error that names it.

use serde::Serialize;
use serde::de::Error;
use serde_json::Value;

/// Implements serde's traits by the ones that `#[serde(remote = "Self")]` derives, with the check of [`known`].
macro_rules! strict {
    ($($choice:ty),+ $(,)?) => { $(
        impl serde::Serialize for $choice {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$choice>::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $choice {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let given = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
                let read = <$choice>::deserialize(&given).map_err(serde::de::Error::custom)?;
                crate::document::strict::known(&given, &read)?;
                Ok(read)
            }
        }
    )+ };
}
pub(super) use strict;

/// Every field that was given is one that the choice would write.
pub(super) fn known<T: Serialize, E: Error>(given: &Value, read: &T) -> Result<(), E> {
    let written = serde_json::to_value(read).map_err(E::custom)?;
    let unknown =
        given.as_object().and_then(|map| map.keys().find(|key| written.get(key.as_str()).is_none()));
    match unknown {
        Some(key) => Err(E::custom(format!("unknown field `{key}`"))),
        None => Ok(()),
    }
}
