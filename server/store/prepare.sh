#!/bin/sh
# Describes every checked query of this crate into .sqlx, so that a build needs no database.
# Run it after changing a query or a migration; with --check it changes nothing and fails where .sqlx is out of date.
set -eu
cd "$(dirname "$0")"
case "${1-}" in
    "" | --check) mode=${1-} ;;
    *) echo "usage: prepare.sh [--check]" >&2; exit 2 ;;
esac

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/sqlx"
python3 - "$scratch/dev.db" ../../migrations/*.sql <<'PY'
import sqlite3, sys

database = sqlite3.connect(sys.argv[1])
for migration in sys.argv[2:]:
    with open(migration, encoding="utf-8") as sql:
        database.executescript(sql.read())
PY

# The variable differs each time, so that cargo expands the macros again.
PLIMSOLL_SQLX_PREPARE="$scratch" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$scratch/sqlx" \
    DATABASE_URL="sqlite://$scratch/dev.db" cargo check --quiet --release --package store

if [ "$mode" = --check ]; then
    diff -r .sqlx "$scratch/sqlx" || { echo "server/store/.sqlx is out of date: run server/store/prepare.sh" >&2; exit 1; }
else
    rm -rf .sqlx
    mkdir .sqlx
    cp "$scratch"/sqlx/*.json .sqlx/
fi
