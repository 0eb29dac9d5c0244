//! Rebuilds the crate when a migration is added: `migrate!` alone does not notice new files.
//!
//! The queries are checked against the committed description in `.sqlx`, whatever `DATABASE_URL` happens to
//! be set to; `prepare.sh` is the one place that asks a database instead.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
    println!("cargo::rerun-if-changed=.sqlx");
    println!("cargo::rerun-if-env-changed=PLIMSOLL_SQLX_PREPARE");
    if std::env::var_os("PLIMSOLL_SQLX_PREPARE").is_none() {
        println!("cargo::rustc-env=SQLX_OFFLINE=true");
    }
}
