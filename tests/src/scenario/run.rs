//! Running scenarios against instances that serve.

use super::{
    Ends, Expect, Hear, Open, Request, Scenario, Shapes, Step, Suite, Variables,
    pattern::{compare, fill, fill_json},
};
use crate::{
    live::{Call, Carrier, End, Listener},
    report::Report,
};
use anyhow::{Context, Result, bail, ensure};
use percent_encoding::percent_decode_str;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Runs every scenario in each profile it holds in. `addresses` are those of the instances, by profile. What the documents list
/// must be what was answered as documented, in every default profile.
pub async fn run_all(
    suite: &Suite,
    scenarios: &BTreeMap<String, Scenario>,
    addresses: &BTreeMap<String, String>,
    report: &mut Report,
) -> Result<()> {
    for (profile, address) in addresses {
        let mut runner = Runner::new(suite, profile, address)?;
        for (name, scenario) in scenarios {
            if scenario.profiles.as_ref().unwrap_or(&suite.default_profiles).contains(profile) {
                report.check(&format!("{name} ({profile})"), runner.run(name, scenario)).await;
            }
        }
        if suite.default_profiles.contains(profile) {
            let listed = suite.endpoints.union(&suite.aliases).cloned().collect();
            report.add(&format!("endpoints ({profile})"), same(&runner.covered, &listed));
        }
    }
    Ok(())
}

/// What the documents list is what was answered as documented.
fn same(covered: &BTreeSet<String>, listed: &BTreeSet<String>) -> Result<()> {
    let untold: Vec<_> = covered.difference(listed).collect();
    let unproved: Vec<_> = listed.difference(covered).collect();
    ensure!(untold.is_empty() && unproved.is_empty(), "not listed: {untold:?}; not shown: {unproved:?}");
    Ok(())
}

/// Runs the scenarios of a suite in one of its profiles.
struct Runner<'a> {
    suite: &'a Suite,
    shapes: Shapes,
    address: String,
    http: reqwest::Client,
    /// Endpoints that were answered as documented: method and path, and the carrier of what stayed open.
    covered: BTreeSet<String>,
}

/// Where a scenario is.
#[derive(Default)]
struct State {
    variables: Variables,
    open: BTreeMap<String, (Listener, usize)>,
}

impl<'a> Runner<'a> {
    /// For the instance of this profile, at this address.
    fn new(suite: &'a Suite, profile: &str, address: &str) -> Result<Self> {
        let profile = suite.profiles.get(profile).with_context(|| format!("no profile is called {profile}"))?;
        let mut shapes = suite.shapes.clone();
        shapes.extend(profile.shapes.clone());
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { suite, shapes, address: address.into(), http, covered: BTreeSet::new() })
    }

    /// Runs a scenario; its name is the variable `scenario`.
    async fn run(&mut self, name: &str, scenario: &Scenario) -> Result<()> {
        let mut state = State::default();
        state.variables.extend(self.suite.variables.clone());
        state.variables.insert("scenario".into(), name.into());
        for (index, step) in scenario.steps.iter().enumerate() {
            for i in 1..=step.repeat {
                state.variables.insert("i".into(), i.to_string());
                let place = || format!("step {}, {}", index + 1, step.title());
                self.step(step, &mut state).await.with_context(place)?;
            }
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step, state: &mut State) -> Result<()> {
        for (name, value) in &step.with {
            let value = fill(value, &state.variables)?;
            state.variables.insert(name.clone(), value);
        }
        let step = match &step.again {
            Some(name) => self.suite.steps.get(name).with_context(|| format!("no step is called {name}"))?,
            None => step,
        };
        match step {
            Step { request: Some(request), .. } => self.request(request, &step.expect, &mut state.variables).await,
            Step { open: Some(open), .. } => self.open(open, state).await,
            Step { hear: Some(hear), .. } => self.hear(hear, state).await,
            Step { ends: Some(ends), .. } => self.ends(ends, state).await,
            _ => bail!("a step that does nothing"),
        }
    }

    async fn request(&mut self, request: &Request, expect: &Expect, variables: &mut Variables) -> Result<()> {
        let method = request.method.as_deref().unwrap_or("POST");
        let path = fill(&request.path, variables)?;
        let mut building = self.http.request(method.parse()?, format!("http://{}{path}", self.address));
        for (name, value) in &request.headers {
            building = building.header(name, fill(value, variables)?);
        }
        if let Some(token) = &request.token {
            building = building.header("authorization", format!("Bearer {}", fill(token, variables)?));
        }
        if let Some(body) = &request.body {
            building = building.body(fill_json(body, variables)?.to_string());
        } else if let Some(text) = &request.text {
            building = building.body(fill(text, variables)?);
        }
        let response = building.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let seen = || format!("{method} {path} was answered {status} {text:?}");
        ensure!(status == expect.status.unwrap_or(200), "another status: {}", seen());
        let mut wanted = if expect.body.is_some() { self.suite.json.headers.clone() } else { BTreeMap::new() };
        wanted.extend(expect.headers.clone());
        for (name, value) in &wanted {
            let found = headers.get(name).map(|value| Value::String(String::from_utf8_lossy(value.as_bytes()).into()));
            compare(value, &found.unwrap_or_default(), &self.shapes, variables)
                .with_context(|| format!("header {name}: {}", seen()))?;
        }
        if let Some(expected) = &expect.text {
            let expected = fill(expected, variables)?;
            ensure!(text == expected, "not {expected:?}: {}", seen());
        }
        if let Some(part) = &expect.contains {
            ensure!(text.contains(part), "no {part}: {}", seen());
            if expect.body.is_none() && status == 200 {
                self.cover(method, &path, None)?;
            }
        }
        if let Some(expected) = &expect.body {
            ensure!(text.ends_with(&self.suite.json.ends_with), "it ends otherwise: {}", seen());
            let found = serde_json::from_str(&text).with_context(|| format!("no JSON: {}", seen()))?;
            compare(expected, &found, &self.shapes, variables).with_context(seen)?;
            let says_so = |(member, value): &(String, Value)| found.get(member).is_none_or(|found| found == value);
            if status == 200 && self.suite.json.success.as_ref().is_none_or(says_so) {
                self.cover(method, &path, None)?;
            }
        }
        Ok(())
    }

    fn cover(&mut self, method: &str, path: &str, carrier: Option<&str>) -> Result<()> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let path = percent_decode_str(path).decode_utf8()?;
        let carrier = carrier.map(|carrier| format!(" {carrier}")).unwrap_or_default();
        self.covered.insert(format!("{method} {path}{carrier}"));
        Ok(())
    }

    async fn open(&mut self, open: &Open, state: &mut State) -> Result<()> {
        let carrier = Carrier::ALL.into_iter().find(|carrier| carrier.word() == open.carrier);
        let path = fill(&open.path, &state.variables)?;
        let token = fill(open.token.as_deref().unwrap_or_default(), &state.variables)?;
        let call = Call { address: self.address.clone(), path: path.clone(), token };
        let listener = Listener::open(carrier.context("no such carrier")?, &call).await?;
        state.open.insert(open.name.clone(), (listener, 0));
        self.cover("GET", &path, Some(&open.carrier))
    }

    async fn hear(&self, hear: &Hear, state: &mut State) -> Result<()> {
        let (listener, heard) = state.open.get_mut(&hear.from).context("it is not open")?;
        let log = listener.hears(*heard + 1).await?;
        let event = &log.heard[*heard];
        *heard += 1;
        let seen = || format!("{event:?}");
        // An event of a stream has its lines; everything else is sent as an answer is.
        let ends_right = listener.carrier == Carrier::Sse || event.text.ends_with(&self.suite.json.ends_with);
        ensure!(ends_right, "it ends otherwise: {}", seen());
        for (expected, found) in [(&hear.id, &event.id), (&hear.event, &event.event)] {
            if let Some(expected) = expected {
                let found = found.clone().map(Value::String).unwrap_or_default();
                compare(expected, &found, &self.shapes, &mut state.variables).with_context(seen)?;
            }
        }
        compare(&hear.message, &event.message(), &self.shapes, &mut state.variables).with_context(seen)
    }

    async fn ends(&self, ends: &Ends, state: &mut State) -> Result<()> {
        let (listener, heard) = state.open.remove(&ends.from).context("it is not open")?;
        let end = listener.ends().await?;
        let right = match (&end, ends.code) {
            (End::Closed { code, .. }, Some(wanted)) => *code == wanted,
            (End::Over, None) => true,
            _ => false,
        };
        ensure!(right, "it ended with {end:?}");
        ensure!(listener.log().heard.len() == heard, "it heard more: {:?}", listener.log().heard);
        Ok(())
    }
}

impl Step {
    fn title(&self) -> &str {
        match self {
            Self { what, .. } if !what.is_empty() => what,
            Self { again: Some(name), .. } => name,
            Self { request: Some(request), .. } => &request.path,
            _ => "a connection",
        }
    }
}
