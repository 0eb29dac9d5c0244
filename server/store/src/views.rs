//! Lists of cases that people keep by a name.

use contract::ids::UnixMillis;
use contract::view::{MOST, SavedView};

use crate::{Store, StoreError, value};

struct ViewRow {
    name: String,
    query: String,
    saved_at: i64,
}

impl Store {
    /// Keeps a view; one of the same name gives way. False where as many as may be are kept already.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn save_view(&self, view: &SavedView) -> Result<bool, StoreError> {
        let most = value::to_integer("the number of views", MOST as u64)?;
        let saved = sqlx::query!(
            "INSERT INTO views (name, query, saved_at) SELECT ?1, ?2, ?3
             WHERE (SELECT COUNT(*) FROM views WHERE name <> ?1) < ?4
             ON CONFLICT (name) DO UPDATE SET query = excluded.query, saved_at = excluded.saved_at",
            view.name,
            view.query,
            view.saved_at.0,
            most
        )
        .execute(&self.pool)
        .await?;
        Ok(saved.rows_affected() == 1)
    }

    /// The views that are kept, by name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn views(&self) -> Result<Vec<SavedView>, StoreError> {
        let rows = sqlx::query_as!(ViewRow, "SELECT name, query, saved_at FROM views ORDER BY name")
            .fetch_all(&self.pool)
            .await?;
        let view =
            |row: ViewRow| SavedView { name: row.name, query: row.query, saved_at: UnixMillis(row.saved_at) };
        Ok(rows.into_iter().map(view).collect())
    }

    /// Keeps a view no more; false where there was none of that name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn delete_view(&self, name: &str) -> Result<bool, StoreError> {
        let deleted = sqlx::query!("DELETE FROM views WHERE name = ?", name).execute(&self.pool).await?;
        Ok(deleted.rows_affected() == 1)
    }
}

#[cfg(test)]
mod tests {
    use contract::view::{MOST, SavedView};

    use crate::testing::{T0, temporary};

    fn view(name: &str, query: &str) -> SavedView {
        SavedView { name: name.to_owned(), query: query.to_owned(), saved_at: T0 }
    }

    #[tokio::test]
    async fn views_are_kept_by_name() {
        let (_folder, store) = temporary().await;
        for one in [view("slow", "order=ttft"), view("big", "order=peak"), view("slow", "order=decode")] {
            assert!(store.save_view(&one).await.unwrap());
        }
        let want = [view("big", "order=peak"), view("slow", "order=decode")];
        assert_eq!(store.views().await.unwrap(), want, "the newer of one name");
        assert!(store.delete_view("big").await.unwrap());
        assert!(!store.delete_view("big").await.unwrap(), "there is none any more");
        assert_eq!(store.views().await.unwrap(), want[1..]);
    }

    #[tokio::test]
    async fn no_more_views_are_kept_than_may_be() {
        let (_folder, store) = temporary().await;
        for n in 0..MOST {
            assert!(store.save_view(&view(&n.to_string(), "")).await.unwrap());
        }
        assert!(!store.save_view(&view("one more", "")).await.unwrap());
        assert!(store.save_view(&view("7", "batch=1")).await.unwrap(), "one of them may change");
        assert_eq!(store.views().await.unwrap().len(), MOST);
    }
}
