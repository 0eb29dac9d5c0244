//! A model from a Hugging Face `config.json`.

mod decoder;
mod encoder;
mod feed_forward;
mod fields;
mod mixer;
mod tower;

use serde_json::Value;

use self::fields::{Fields, kind_of};
use super::{Model, ModelError};

/// Models whose language model stands in `text_config`, of a family that it names itself.
const WRAPPERS: &[&str] = &["mistral3", "llava", "llava_next", "kimi_vl", "kimi_k25"];

impl Model {
    /// The model that a Hugging Face `config.json` describes. Fields that are left out take the defaults of the family's
    /// class in `transformers`; the fields that decide the size have none and are required.
    ///
    /// # Errors
    /// Names the field, what it says and what is accepted; for an unknown family it lists the known ones.
    pub fn from_config(name: &str, config: &Value) -> Result<Self, ModelError> {
        let Value::Object(map) = config else {
            return Err(ModelError::NotAnObject { found: kind_of(config) });
        };
        let whole = Fields::new(map);
        let wrapped = whole.text("model_type").is_some_and(|t| WRAPPERS.contains(&t));
        let text = whole.within("text_config")?;
        let architecture = if wrapped { text.architecture()? } else { whole.architecture()? };
        let mut model = if architecture.is_encoder() {
            encoder::encoder(name, architecture, &text)?
        } else {
            decoder::decoder(name, architecture, &text)?
        };
        model.towers = tower::towers(&whole, model.hidden)?;
        Ok(model)
    }
}
