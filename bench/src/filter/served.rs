//! From a push to the first request that it steers, and what many pushes leave behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use graylane_wasm_tests::{Client, Envoy};
use serde::Serialize;

use crate::api::Api;
use crate::figures::{Row, Samples};
use crate::filter::cores;
use crate::filter::ids::Ids;
use crate::filter::load::{Connection, Waiting};
use crate::filter::process;
use crate::filter::reload::Changing;
use crate::filter::requests::Requests;
use crate::filter::stand::Stand;
use crate::push;
use crate::push::release::Release;
use crate::push::round::{Round, Trigger};

/// How long new rules may take to steer.
const SERVED_DEADLINE: Duration = Duration::from_secs(60);
/// Reloads after which memory is looked at.
const LOOKS: [u32; 6] = [1, 10, 30, 100, 200, 300];
/// Rounds through the daemon that are not counted.
const WARM_UP_ROUNDS: u32 = 2;
/// How long the observer of the daemon's rounds rests between two requests.
const PAUSE: Duration = Duration::from_micros(200);

/// Memory after some reloads.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AfterReloads {
    /// Who.
    pub(crate) contender: &'static str,
    /// How many tellers are gray.
    pub(crate) ids: usize,
    /// Reloads so far.
    pub(crate) reloads: u32,
    /// Memory, in KiB.
    pub(crate) rss_kb: u64,
}

/// Reloads again and again: the times from the move of the file to the first steered request, and the memory meanwhile.
pub(crate) fn from_file(
    stand: &mut Stand,
    changing: &mut Changing,
    reloads: u32,
) -> Result<(Row, Vec<AfterReloads>)> {
    cores::on(cores::LOAD, || {
        let mut times =
            Samples::new("served.file", "from the move of the rules' file to the first steered request");
        let mut memory = Vec::new();
        let mut connection = Connection::open(stand.envoy.listener(), Waiting::Spinning)?;
        let mut requests = Requests::of_teller(&changing.teller);
        for reload in 1..=reloads {
            let rules = stand.rules.as_mut().context("its rules are in no file")?;
            let staged = rules.stage(&changing.next()?)?;
            let started = Instant::now();
            staged.publish()?;
            until_body(&mut connection, &mut requests, changing.body())?;
            times.push(started.elapsed());
            if LOOKS.contains(&reload) {
                let rss_kb = process::rss_kb(stand.envoy.process_id())?;
                memory.push(AfterReloads {
                    contender: stand.contender.as_str(),
                    ids: stand.ids,
                    reloads: reload,
                    rss_kb,
                });
            }
        }
        Ok((times.row()?, memory))
    })
}

fn until_body(connection: &mut Connection, requests: &mut Requests, wanted: &str) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < SERVED_DEADLINE {
        connection.send(requests.next())?;
        if connection.answer()? == wanted.as_bytes() {
            return Ok(());
        }
    }
    bail!("new rules do not steer within {} s", SERVED_DEADLINE.as_secs())
}

/// Advances an order of the real daemon, with all ids in its rules: the times from the call to the first steered request.
pub(crate) fn from_daemon(ids: &Ids, rounds: u32) -> Result<Vec<Row>> {
    let testbed = push::start(1)?;
    let api = Api::new(testbed.daemon.http());
    push::until_connected(&api, 1)?;
    let clients: Vec<Client> = testbed.envoys.iter().map(Envoy::client).collect();
    let mut release = Release::begin(&api, Some(&(ids.tellers.join("\n") + "\n")))?;
    let bytes = release.rules_bytes(&api)?;
    ensure!(bytes > ids.tellers.len() as u64 / 8, "{bytes} bytes cannot hold {} ids", ids.tellers.len());
    let mut answered =
        Samples::new("served.answered", "the daemon answered the advance: durable and published");
    let mut steered =
        Samples::new("served.daemon", "from `advance` to the first steered request, through the daemon");
    for round in 0..WARM_UP_ROUNDS + rounds {
        let stage = release.next(&api)?;
        let times = Round { api: &api, clients: &clients, stage: &stage, pause: PAUSE }.run(Trigger::Http)?;
        if round >= WARM_UP_ROUNDS {
            answered.push(times.answered);
            times.steered.iter().for_each(|seen| steered.push(seen.after));
        }
    }
    Ok(vec![answered.row()?, steered.row()?])
}
