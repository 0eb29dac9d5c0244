//! The REST interface as a program would use it.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use contract::job::{Job, NewJob};
use contract::protocol::{JobEvent, Runner};
use contract::run::RunDetail;
use serde_json::Value;

use crate::{HarnessError, Result};

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Api {
    agent: ureq::Agent,
    url: String,
}

impl Api {
    /// Of the server at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        Self { agent, url: url.to_owned() }
    }

    fn address(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.url)
    }

    /// GET, with the status.
    ///
    /// # Errors
    /// The request fails on its way, or the answer is not JSON.
    pub fn get(&self, path: &str) -> Result<(u16, Value)> {
        let url = self.address(path);
        let answer = self.agent.get(&url).call();
        read(url, "GET", answer)
    }

    /// POST of JSON, with the status.
    ///
    /// # Errors
    /// The request fails on its way, or the answer is not JSON.
    pub fn post(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let url = self.address(path);
        let answer = self.agent.post(&url).send_json(body);
        read(url, "POST", answer)
    }

    /// Submits a job.
    ///
    /// # Errors
    /// It is refused.
    pub fn submit(&self, job: &NewJob) -> Result<Job> {
        let (status, value) = self.post("/jobs", &serde_json::to_value(job).unwrap_or_default())?;
        parse(&self.address("/jobs"), status, value)
    }

    /// A job as it stands.
    ///
    /// # Errors
    /// There is none.
    pub fn job(&self, id: impl std::fmt::Display) -> Result<Job> {
        let path = format!("/jobs/{id}");
        let (status, value) = self.get(&path)?;
        parse(&self.address(&path), status, value)
    }

    /// A run whole.
    ///
    /// # Errors
    /// There is none.
    pub fn run(&self, id: impl std::fmt::Display) -> Result<RunDetail> {
        let path = format!("/runs/{id}");
        let (status, value) = self.get(&path)?;
        parse(&self.address(&path), status, value)
    }

    /// Follows a job's events until `enough` holds, and returns the job as it was then.
    ///
    /// # Errors
    /// The stream ends before.
    pub fn follow(&self, id: impl std::fmt::Display, enough: impl Fn(&Job) -> bool) -> Result<Job> {
        let url = self.address(&format!("/jobs/{id}/events"));
        let answer = self.agent.get(&url).header("accept", "text/event-stream").call().map_err(|source| {
            HarnessError::Http { method: "GET", url: url.clone(), source: Box::new(source) }
        })?;
        let mut last = String::new();
        for line in
            BufReader::new(answer.into_body().into_reader()).lines().map_while(std::result::Result::ok)
        {
            let Some(data) = line.strip_prefix("data:") else { continue };
            data.trim().clone_into(&mut last);
            if let Ok(event) = serde_json::from_str::<JobEvent>(&last)
                && enough(&event.job)
            {
                return Ok(event.job);
            }
        }
        Err(HarnessError::Answer { url, status: 200, body: format!("the stream ended; last event: {last}") })
    }

    /// Waits until a runner of that name is online.
    ///
    /// # Errors
    /// None is within a minute.
    pub fn wait_for_runner(&self, name: &str) -> Result<Runner> {
        wait_until(&format!("runner {name} online"), Duration::from_mins(1), || {
            let (status, value) = self.get("/runners")?;
            let runners: Vec<Runner> = parse(&self.address("/runners"), status, value)?;
            Ok(runners.into_iter().find(|r| r.online && r.registration.name == name))
        })
    }
}

/// Asks `condition` until it yields something.
///
/// # Errors
/// It errs, or yields nothing in time.
pub fn wait_until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        if let Some(found) = condition()? {
            return Ok(found);
        }
        // Between two looks, not instead of one.
        std::thread::park_timeout(Duration::from_millis(50));
    }
    Err(HarnessError::TimedOut { what: what.to_owned(), seconds: limit.as_secs() })
}

fn read(
    url: String,
    method: &'static str,
    answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<(u16, Value)> {
    let http = |source| HarnessError::Http { method, url: url.clone(), source: Box::new(source) };
    let mut answer = answer.map_err(http)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(256 << 20).read_to_string().map_err(http)?;
    if body.is_empty() {
        return Ok((status, Value::Null));
    }
    match serde_json::from_str(&body) {
        Ok(value) => Ok((status, value)),
        Err(_) => Err(HarnessError::Answer { url, status, body }),
    }
}

fn parse<T: serde::de::DeserializeOwned>(url: &str, status: u16, value: Value) -> Result<T> {
    if !(200..300).contains(&status) {
        return Err(HarnessError::Answer { url: url.to_owned(), status, body: value.to_string() });
    }
    let body = value.to_string();
    serde_json::from_value(value).map_err(|e| HarnessError::Answer {
        url: url.to_owned(),
        status,
        body: format!("{e} in {body}"),
    })
}

/// A page as a browser without scripts gets it, with the status.
///
/// # Errors
/// The request fails on its way.
pub fn page(url: &str) -> Result<(u16, String)> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let http = |source| HarnessError::Http { method: "GET", url: url.to_owned(), source: Box::new(source) };
    let mut answer = agent.get(url).header("accept", "text/html").call().map_err(http)?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(64 << 20).read_to_string().map_err(http)?;
    Ok((status, body))
}

/// The bytes of a file.
///
/// # Errors
/// The request fails on its way, or is not answered with 200.
pub fn bytes(url: &str) -> Result<Vec<u8>> {
    let http = |source| HarnessError::Http { method: "GET", url: url.to_owned(), source: Box::new(source) };
    let mut answer = ureq::get(url).call().map_err(http)?;
    answer.body_mut().with_config().limit(64 << 20).read_to_vec().map_err(http)
}
