use std::fs;

use contract::case::CaseStatus;
use contract::ids::RunId;
use contract::run::RunFilter;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::testing::{case, machine, run, sweep, uuid};
use crate::{Store, StoreError};

async fn raw(path: &std::path::Path) -> SqliteConnection {
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(path).create_if_missing(true))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_newer_database_is_refused_by_name_and_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("future.db");
    Store::open(&path).await.unwrap().close().await;
    let mut db = raw(&path).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&mut db)
    .await
    .unwrap();
    db.close().await.unwrap();
    let before = fs::read(&path).unwrap();

    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 9999, known: 6, .. }), "{error:?}");
    let sentence = error.to_string();
    assert!(sentence.contains("future.db") && sentence.contains("upgrade"), "{sentence}");
    assert_eq!(fs::read(&path).unwrap(), before, "a refused database is left as it was");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "not a database, but long enough to have a header of one hundred bytes".repeat(4))
        .unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::NotADatabase(_)), "{error:?}");
}

#[tokio::test]
async fn another_programs_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("music.db");
    let mut db = raw(&path).await;
    sqlx::query("CREATE TABLE tracks (title TEXT)").execute(&mut db).await.unwrap();
    db.close().await.unwrap();
    let error = Store::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Foreign(_)), "{error:?}");
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Store::open(&folder.path().join("absent/plimsoll.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Open { .. }), "{error:?}");
    assert!(error.to_string().contains("absent/plimsoll.db"), "{error}");
}

#[tokio::test]
async fn a_new_file_may_be_opened_by_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plimsoll.db");
    let opens: Vec<_> = (0..6)
        .map(|_| {
            let path = path.clone();
            tokio::spawn(async move { Store::open(&path).await })
        })
        .collect();
    for open in opens {
        assert!(open.await.unwrap().unwrap().is_empty().await.unwrap());
    }
}

#[tokio::test]
async fn what_was_stored_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plimsoll.db");
    let (machine, sweep) = (machine(1, "desk"), sweep("tiny"));
    let run = run(2, &machine, sweep.clone());
    let store = Store::open(&path).await.unwrap();
    store.upsert_machine(&machine).await.unwrap();
    store.create_run(&run).await.unwrap();
    store.insert_case(&case(run.id, &sweep, 0)).await.unwrap();
    // Not closed: as after a kill, the write-ahead log is still beside the file.
    let again = Store::open(&path).await.unwrap();
    let detail = again.run(run.id).await.unwrap().unwrap();
    assert_eq!(detail.run, run);
    assert_eq!(detail.machine, machine);
    assert_eq!(detail.cases, [case(run.id, &sweep, 0)]);
}

/// One entry for each schema that was ever released, in its own words: opened by this program it must keep
/// its rows.
#[tokio::test]
async fn every_earlier_schema_is_brought_up_to_date() {
    let earlier = [
        (1, include_str!("../../../../migrations/0001_results_and_queue.sql")),
        (2, include_str!("../../../../migrations/0002_runs_by_sweep.sql")),
        (3, include_str!("../../../../migrations/0003_predicted_and_superseded_cases.sql")),
        (4, include_str!("../../../../migrations/0004_case_lines.sql")),
        (5, include_str!("../../../../migrations/0005_saved_views.sql")),
        (6, include_str!("../../../../migrations/0006_pages_of_many_cases.sql")),
    ];
    assert_eq!(
        earlier.map(|(version, _)| version).to_vec(),
        super::MIGRATOR.iter().map(|m| m.version).collect::<Vec<_>>(),
        "a new migration needs its line here"
    );
    for upto in 1..=earlier.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plimsoll.db");
        let mut db = raw(&path).await;
        sqlx::raw_sql(
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
                 installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
                 checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
        )
        .execute(&mut db)
        .await
        .unwrap();
        for (migration, (version, sql)) in super::MIGRATOR.iter().zip(earlier).take(upto) {
            sqlx::raw_sql(sql).execute(&mut db).await.unwrap();
            sqlx::query("INSERT INTO _sqlx_migrations VALUES (?, ?, CURRENT_TIMESTAMP, 1, ?, 0)")
                .bind(version)
                .bind(&*migration.description)
                .bind(&*migration.checksum)
                .execute(&mut db)
                .await
                .unwrap();
        }
        let cpu = r#"{"model":"x","logical_cores":1,"isa":"generic"}"#;
        sqlx::query("INSERT INTO machines VALUES (?, 'old', 'Linux', ?, 1, '[]')")
            .bind(uuid(7).to_string())
            .bind(cpu)
            .execute(&mut db)
            .await
            .unwrap();
        let (lab, sweep) = (machine(7, "old"), sweep("tiny"));
        let run = run(2, &lab, sweep.clone());
        let mut stored = [case(run.id, &sweep, 0), case(run.id, &sweep, 1)];
        (stored[1].status, stored[1].measurement) = (CaseStatus::Crashed, None);
        crate::runs::insert(&mut db, &run).await.unwrap();
        for case in &stored {
            assert!(crate::cases::insert_row(&mut db, case).await.unwrap());
        }
        // From the fourth on, a case was written with its line.
        if upto >= 4 {
            let migration = earlier[3].1;
            let lines = &migration[migration.find("INSERT INTO case_lines").unwrap()..];
            sqlx::query(&lines[..=lines.find(';').unwrap()]).execute(&mut db).await.unwrap();
        }
        db.close().await.unwrap();

        let store = Store::open(&path).await.unwrap();
        let machines = store.machines().await.unwrap();
        assert_eq!(machines.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["old"], "schema {upto}");
        assert_eq!(store.run(run.id).await.unwrap().unwrap().cases, stored, "schema {upto}");
        let schema =
            "SELECT name FROM sqlite_schema WHERE tbl_name = 'cases' AND type <> 'table' ORDER BY name";
        let names: Vec<String> = sqlx::query_scalar(schema).fetch_all(&store.pool).await.unwrap();
        assert_eq!(
            names,
            [
                "cases_are_immutable",
                "cases_are_kept",
                "cases_by_age",
                "cases_by_key",
                "cases_by_model",
                "cases_by_run",
                "sqlite_autoindex_cases_1",
                "sqlite_autoindex_cases_2"
            ],
            "schema {upto}"
        );
        let summary = store.runs(&RunFilter::default()).await.unwrap().items.remove(0);
        assert_eq!((summary.cases_done, summary.cases_ok), (2, 1), "schema {upto}: sums of the run");
        let orphan = case(RunId(uuid(99)), &sweep, 0);
        assert!(store.insert_case(&orphan).await.is_err(), "schema {upto}: a case belongs to a run");
    }
}

#[tokio::test]
async fn a_full_disk_is_said_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plimsoll.db");
    let (machine, sweep) = (machine(1, "desk"), sweep("tiny"));
    let run = run(2, &machine, sweep.clone());
    let store = Store::open(&path).await.unwrap();
    store.upsert_machine(&machine).await.unwrap();
    store.create_run(&run).await.unwrap();
    store.insert_case(&case(run.id, &sweep, 0)).await.unwrap();
    // SQLite answers SQLITE_FULL at its own page limit as it does at the disk's.
    let mut full = store.pool.acquire().await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&mut *full).await.unwrap();
    sqlx::query(&format!("PRAGMA max_page_count = {pages}")).execute(&mut *full).await.unwrap();
    let mut large = case(run.id, &sweep, 1);
    large.error = Some("x".repeat(1 << 20));
    let error = crate::cases::insert(&mut full, &large).await.unwrap_err();
    assert!(matches!(error, StoreError::DiskFull(_)), "{error:?}");
    drop(full);
    assert_eq!(store.run(run.id).await.unwrap().unwrap().cases, [case(run.id, &sweep, 0)]);
}

#[tokio::test]
async fn a_write_lock_that_is_never_released_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plimsoll.db");
    let store = Store::open(&path).await.unwrap();
    let holder = store.write().await.unwrap();
    let mut impatient = raw(&path).await;
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut impatient).await.unwrap();
    let error: StoreError = crate::machines::upsert(&mut impatient, &machine(1, "desk")).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error:?}");
    drop(holder);
}

/// Polls `future` at most `polls` times, then drops it: a request whose client has gone.
async fn give_up_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut seen = 0;
    std::future::poll_fn(|context| {
        seen += 1;
        match future.as_mut().poll(context) {
            std::task::Poll::Ready(out) => std::task::Poll::Ready(Some(out)),
            std::task::Poll::Pending if seen >= polls => std::task::Poll::Ready(None),
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_write_given_up_at_any_moment_leaves_the_lock_free() {
    let (_folder, store) = crate::testing::temporary().await;
    let mut most = 0;
    for round in 0..200 {
        let polls = 1 + round % 8;
        if give_up_after(polls, store.write()).await.is_some() {
            most = most.max(polls);
        }
    }
    assert!(most > 0, "some rounds reached the lock");
    for n in 0..8 {
        store.upsert_machine(&machine(n, "desk")).await.unwrap();
    }
}
