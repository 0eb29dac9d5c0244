//! Machines.

use contract::ids::MachineId;
use contract::machine::Machine;
use planner::Bytes;
use sqlx::SqliteExecutor;

use crate::{Store, StoreError, value};

#[derive(sqlx::FromRow)]
pub(crate) struct MachineRow {
    id: String,
    name: String,
    os: String,
    cpu: String,
    memory_bytes: i64,
    gpus: String,
}

impl TryFrom<MachineRow> for Machine {
    type Error = StoreError;
    fn try_from(row: MachineRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: value::id("machines.id", &row.id)?,
            name: row.name,
            os: row.os,
            cpu: value::json("machines.cpu", &row.cpu)?,
            memory_bytes: Bytes(value::count("machines.memory_bytes", row.memory_bytes)?),
            gpus: value::json("machines.gpus", &row.gpus)?,
        })
    }
}

impl Store {
    /// Stores a machine, or what has changed about it since.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn upsert_machine(&self, machine: &Machine) -> Result<(), StoreError> {
        upsert(&self.pool, machine).await
    }

    /// Every machine, by name.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        sqlx::query_as!(
            MachineRow,
            "SELECT id, name, os, cpu, memory_bytes, gpus FROM machines ORDER BY name, id"
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(Machine::try_from)
        .collect()
    }

    /// One machine.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn machine(&self, id: MachineId) -> Result<Option<Machine>, StoreError> {
        find(&self.pool, id).await
    }
}

pub(crate) async fn find(db: impl SqliteExecutor<'_>, id: MachineId) -> Result<Option<Machine>, StoreError> {
    let id = id.to_string();
    sqlx::query_as!(MachineRow, "SELECT id, name, os, cpu, memory_bytes, gpus FROM machines WHERE id = ?", id)
        .fetch_optional(db)
        .await?
        .map(Machine::try_from)
        .transpose()
}

pub(crate) async fn upsert(db: impl SqliteExecutor<'_>, machine: &Machine) -> Result<(), StoreError> {
    let id = machine.id.to_string();
    let cpu = value::to_json("the processor", &machine.cpu)?;
    let memory = value::to_integer("the machine's memory", machine.memory_bytes.0)?;
    let gpus = value::to_json("the GPUs", &machine.gpus)?;
    sqlx::query!(
        "INSERT INTO machines (id, name, os, cpu, memory_bytes, gpus) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, os = excluded.os, cpu = excluded.cpu,
             memory_bytes = excluded.memory_bytes, gpus = excluded.gpus",
        id,
        machine.name,
        machine.os,
        cpu,
        memory,
        gpus
    )
    .execute(db)
    .await?;
    Ok(())
}
