//! What newcomers ask, answered by the planner beside the requests and kept.

use std::sync::Arc;

use app::backend::Asked;
use app::kept::Kept;
use planner::answers::{Reader, Topic, answer};

use crate::beside::beside;
use crate::problem::Problem;

/// Answers that are kept, some dozens of kB each. The planner is pure and the same until the server starts anew.
const KEPT: usize = 128;

/// The answers that were asked for last.
#[derive(Debug)]
pub(crate) struct Questions(Kept<(Topic, Reader), Asked>);

impl Default for Questions {
    fn default() -> Self {
        Self(Kept::new(KEPT))
    }
}

impl Questions {
    /// The answer to a question.
    ///
    /// # Errors
    /// Where the planner broke off; the log says why.
    pub async fn ask(&self, topic: Topic, reader: Reader) -> Result<Arc<Asked>, Problem> {
        let question = (topic, reader);
        if let Some(known) = self.0.get(&question) {
            return Ok(known);
        }
        let reader = question.1.clone();
        let found = beside(move || Ok::<_, Problem>(answer(topic, &reader))).await?;
        let found = Arc::new(found);
        // What is refused is refused at once the next time too, and would push out what is not.
        if found.is_ok() {
            self.0.keep(question, found.clone());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use planner::Tokens;

    use super::*;

    fn reader(model: &str) -> Reader {
        Reader { model: model.to_owned(), gpu: "rtx-4090-24gb".to_owned(), context: Tokens(1024), batch: 1 }
    }

    #[tokio::test]
    async fn an_answer_is_computed_once() {
        let questions = Questions::default();
        let small = reader("HuggingFaceTB/SmolLM2-135M");
        let first = questions.ask(Topic::PerBillion, small.clone()).await.unwrap();
        assert_eq!(*first, answer(Topic::PerBillion, &small));
        let again = questions.ask(Topic::PerBillion, small.clone()).await.unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let other = questions.ask(Topic::Training, small).await.unwrap();
        assert_ne!(first, other);
        let wrong = questions.ask(Topic::PerBillion, reader("none")).await.unwrap();
        assert_eq!(wrong.as_ref().as_ref().unwrap_err().field, "model");
    }
}
